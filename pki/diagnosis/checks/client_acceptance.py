"""Whether a server accepts our certificate, and if not, why.

Some servers refuse a certificate by an alert, which may stand for several failures. A gRPC server
does not: it closes the connection, and names no CAs when it requests a certificate. In both cases
the causes are ranked, unless a fault of ours is one of them: that is then the cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from cryptography import x509

from pki.diagnosis.checks.certificates.issuer_path import is_self_issued, path_from_leaf, quote_name
from pki.diagnosis.checks.own_credential import NOT_PRESENTED, OwnCredential
from pki.diagnosis.checks.refusal_causes import (
    ACCEPTS,
    CLOSED,
    lacks_issuer,
    rank_causes,
)
from pki.diagnosis.checks.tls_alerts import CERTIFICATE_REQUIRED, REASONS, describe_alert
from pki.diagnosis.observe.tls_handshake import Handshake, HandshakeEnd
from pki.diagnosis.report import Finding, Status, failed, ok, symptom, unknown, warning
from pki.failures import FAILURES
from pki.x509 import canonical_name

REQUESTS = "requests a certificate"
_NOT_REQUESTED, _STRICT = "ca-not-requested", "strict-verifier"
# How likely the first cause of an alert is, and by how much each further one is less likely.
_FIRST_LIKELY, _NEXT, _LEAST = 60, 10, 5
_PROBABLY = 80
_NO_PATH = ("unknown-ca", "incomplete-chain", "self-signed")
_READ_ITS_LOG = (
    "Read the server's log of this moment, or take its place: handfast doctor --stand-in PORT "
    "--credential DIR"
)
# Faults that a server reports by an alert that names another failure.
_SEEN_AS = {48: ("bad-signature",), CERTIFICATE_REQUIRED: ("unsupported-key",)}


def examine_request(anonymous: Handshake, own: OwnCredential | None) -> list[Finding]:
    """Examine the request for a certificate in the anonymous handshake, and the CAs it names."""
    if not (anonymous.completed or anonymous.chain):
        return [unknown(REQUESTS, "the handshake did not get that far")]
    if not anonymous.certificate_requested:
        return [
            warning(
                REQUESTS,
                "no-client-auth",
                "the server requests no client certificate: it can't know who calls",
            )
        ]
    if not anonymous.requested_issuers:
        return [ok(REQUESTS, "the server requests one, and names no CAs (gRPC servers never do)")]
    message = ", ".join(item.text for item in anonymous.requested_issuers[:5])
    if own is None or not own.chain:
        return [ok(REQUESTS, f"the server requests one of {message}")]
    wanted = {item.name for item in anonymous.requested_issuers}
    if wanted & {canonical_name(item.issuer) for item in own.chain}:
        return [ok(REQUESTS, f"the server requests one of {message}; ours is among them")]
    return [
        failed(
            REQUESTS,
            _NOT_REQUESTED,
            f"the server requests a certificate of {message}; ours is of "
            f"{quote_name(own.chain[-1].issuer)}",
            handshake_result="CERTIFICATE_AUTHORITY_INVALID",
        )
    ]


def adjust_request(request: Sequence[Finding], acceptance: Sequence[Finding]) -> list[Finding]:
    """Return the findings on the request, by what the server then did with our certificate.

    The CAs in a request tell a client what to present. What is accepted, the server's bundle
    decides: that other CAs are named is the cause only where the server refused us.

    Args:
        request: the findings on the request.
        acceptance: the findings on whether the server accepts our certificate.
    """
    if any(item.status is Status.FAILED for item in acceptance):
        return list(request)
    accepted = bool(acceptance) and all(item.status is Status.OK for item in acceptance)
    return [
        item if item.failure != _NOT_REQUESTED else _not_refused(item, accepted=accepted)
        for item in request
    ]


def _not_refused(item: Finding, *, accepted: bool) -> Finding:
    """Return the finding that other CAs are named, where the server did not refuse us for it."""
    if not accepted:
        return replace(item, likelihood=_FIRST_LIKELY)
    message = (
        f"{item.message}; it accepts ours all the same, but Go and Java send no certificate to a "
        "server that names other CAs"
    )
    return warning(item.check, _NOT_REQUESTED, message)


def examine_acceptance(
    anonymous: Handshake,
    with_certificate: Handshake | None,
    *,
    own: OwnCredential | None,
    ours: Sequence[Finding],
    request: Sequence[Finding],
    server_chain: Sequence[x509.Certificate],
    now: datetime,
) -> list[Finding]:
    """Examine whether the server accepts our certificate.

    Args:
        anonymous: the handshake without a client certificate.
        with_certificate: the handshake with our certificate; None if we have none to present.
        own: our credential.
        ours: the findings on our credential.
        request: the findings on the request for a certificate.
        server_chain: the chain that the server presented.
        now: the time, aware.
    """
    if with_certificate is None:
        return _without_certificate(anonymous, own)
    if with_certificate.end in {HandshakeEnd.ACCEPTED, HandshakeEnd.SILENT}:
        return _accepted(with_certificate)
    if with_certificate.end is HandshakeEnd.ALERT and with_certificate.alert is not None:
        return _refused_by_alert(with_certificate.alert, anonymous, own, ours, request)
    if with_certificate.end is HandshakeEnd.FAILED:
        return [_failed_here(with_certificate)]
    if with_certificate.end is not HandshakeEnd.CLOSED:
        return [_broken_off(with_certificate)]
    if (
        anonymous.end in {HandshakeEnd.ACCEPTED, HandshakeEnd.SILENT}
        and not anonymous.certificate_requested
    ):
        return [unknown(ACCEPTS, f"the connection ended: {with_certificate.message}; try again")]
    if any(item.failure == _NOT_REQUESTED for item in request):
        message = "the server closed the connection after it received our certificate"
        return [symptom(ACCEPTS, f"{message}, and had requested one of another CA")]
    ranked = rank_causes(own, ours, server_chain, now)
    if not _names_our_root(anonymous, own):
        return ranked
    # Node.js, for one, names its CAs, and closes the connection without an alert.
    return [
        replace(item, likelihood=_LEAST) if item.failure in _NO_PATH and not item.is_sure else item
        for item in ranked
    ]


def _without_certificate(anonymous: Handshake, own: OwnCredential | None) -> list[Finding]:
    what = "no certificate was given" if own is None else "ours can't be presented"
    if anonymous.end in {HandshakeEnd.ACCEPTED, HandshakeEnd.SILENT}:
        if not anonymous.certificate_requested:
            return [ok("accepts callers without one", f"{what}, and the server continues")]
        message = (
            f"the server requests a certificate; {what}, and it continues: TLS does not "
            "authenticate its callers, or it refuses them later, in its answer"
        )
        remedy = "Examine it with a certificate: --credential DIR"
        return [warning("accepts callers without one", "no-client-auth", message, remedy=remedy)]
    ended = anonymous.end in {HandshakeEnd.CLOSED, HandshakeEnd.ALERT}
    if not (anonymous.certificate_requested and ended):
        return [unknown(ACCEPTS, f"{what}, and the handshake ended: {anonymous.message}")]
    ending, is_sure = "closes the connection without a reason", True
    if anonymous.alert is not None:
        alert = describe_alert(anonymous.alert)
        ending = f'answers with the alert "{alert.name}"'
        # Another alert may come for another reason, though a certificate was requested.
        is_sure = "no-client-certificate" in {*alert.at_start, *alert.on_certificate}
    message = f"the server requests a certificate; {what}; the server {ending}"
    if own is not None:
        # It can't be presented for a fault of its own, or because its key is encrypted.
        whole = all(item.status is not Status.FAILED for item in own.findings)
        return [
            unknown(ACCEPTS, message)
            if whole
            else symptom(ACCEPTS, f"{message}; the reason is above")
        ]
    return [
        failed(
            ACCEPTS,
            "no-client-certificate",
            message,
            remedy="Name your credential directory: --credential DIR",
            likelihood=0 if is_sure else _FIRST_LIKELY,
            handshake_result=CLOSED,
        )
    ]


def _failed_here(with_certificate: Handshake) -> Finding:
    """Return why TLS failed at our own end, only in the handshake with our certificate."""
    message = f"TLS fails at our end: {with_certificate.message}"
    reason = with_certificate.message
    if "too small" in reason:
        return failed(ACCEPTS, "weak-key", message)
    if "md too weak" in reason:
        return failed(ACCEPTS, "weak-signature", message)
    if "signature" in reason or "can't be presented" in reason:
        return failed(ACCEPTS, "unsupported-key", message)
    return unknown(ACCEPTS, message)


def _broken_off(with_certificate: Handshake) -> Finding:
    """Return that the handshake with our certificate broke off before it could be refused."""
    message = f"the handshake with our certificate breaks off: {with_certificate.message}"
    if with_certificate.end is HandshakeEnd.TIMED_OUT:
        return failed(
            ACCEPTS,
            "handshake-timeout",
            message,
            likelihood=50,
            handshake_result="HANDSHAKE_TIMEOUT",
        )
    return unknown(ACCEPTS, f"{message}; try again")


def _accepted(with_certificate: Handshake) -> list[Finding]:
    if not with_certificate.certificate_requested:
        return [unknown(ACCEPTS, "the server did not request our certificate, and continues")]
    if with_certificate.end is HandshakeEnd.SILENT and with_certificate.version == "TLSv1.2":
        message = "the server completed the handshake, in TLS 1.2 after it has verified ours"
        return [ok(ACCEPTS, message)]
    if with_certificate.end is HandshakeEnd.SILENT:
        return [
            unknown(
                ACCEPTS,
                "the handshake completed, and the server sent nothing after it: it may still "
                "refuse",
            )
        ]
    return [ok(ACCEPTS, "the server continues after it received our certificate")]


def _refused_by_alert(
    number: int,
    anonymous: Handshake,
    own: OwnCredential | None,
    ours: Sequence[Finding],
    request: Sequence[Finding],
) -> list[Finding]:
    """Rank what the alert may stand for, unless one of it was observed in our certificate."""
    alert = describe_alert(number)
    message = f'the server refuses our certificate with the alert "{alert.name}"'
    observed = {
        item.failure
        for item in ours
        if item.status is Status.FAILED and item.is_sure and item.failure not in NOT_PRESENTED
    }
    if observed & {*alert.on_certificate, *_SEEN_AS.get(number, ())} or (
        "client-refused" in alert.on_certificate and observed
    ):
        return [symptom(ACCEPTS, f"{message}; what is wrong with ours is above")]
    requested = any(item.failure == _NOT_REQUESTED for item in request)
    if requested and "unknown-ca" in alert.on_certificate:
        return [symptom(ACCEPTS, f"{message}, and had requested one of another CA")]
    likelihoods = {
        slug: max(_FIRST_LIKELY - _NEXT * rank, _LEAST)
        for rank, slug in enumerate(alert.on_certificate)
    }
    if _names_our_root(anonymous, own):
        # The server has our root, so the path is likely found, and something else is missing.
        likelihoods |= {slug: _LEAST for slug in _NO_PATH if slug in likelihoods}
    likelihoods |= _weigh_by_ours(number, alert.on_certificate, own, ours)
    ranked = sorted(likelihoods.items(), key=lambda item: -item[1])
    return [
        failed(
            ACCEPTS,
            slug,
            f"{message}: {REASONS.get(slug, alert.meaning)}",
            remedy=_READ_ITS_LOG if slug == "client-refused" else "",
            likelihood=likelihood,
            handshake_result=FAILURES[slug].handshake_result,
        )
        for slug, likelihood in ranked
    ]


def _names_our_root(anonymous: Handshake, own: OwnCredential | None) -> bool:
    """Return whether the server's request names the CA in which our chain ends."""
    if own is None or not own.chain:
        return False
    top = path_from_leaf(own.chain)[-1]
    return canonical_name(top.issuer) in {item.name for item in anonymous.requested_issuers}


def _weigh_by_ours(
    number: int, slugs: Sequence[str], own: OwnCredential | None, ours: Sequence[Finding]
) -> dict[str, int]:
    """Return how likely some failures are by what our own certificate shows."""
    likelihoods: dict[str, int] = {}
    if own is not None and own.chain and "self-signed" in slugs:
        if is_self_issued(own.chain[0]):
            likelihoods |= {"self-signed": _PROBABLY, "incomplete-chain": _LEAST}
        elif lacks_issuer(own):
            # The leaf is sent alone, and no root at hand has issued it.
            likelihoods["incomplete-chain"] = _PROBABLY
    if number == CERTIFICATE_REQUIRED:
        # TLS sends no certificate whose key has no signature algorithm of the server.
        likelihoods["unsupported-key"] = _PROBABLY
    if {_STRICT, "unknown-ca"} & {*slugs} and any(item.failure == _STRICT for item in ours):
        likelihoods[_STRICT] = _PROBABLY
    for slug in ("unsupported-key", "stale-crl"):
        # The server may have the same list as we.
        if slug in slugs and any(item.failure == slug for item in ours):
            likelihoods[slug] = _PROBABLY
    return likelihoods
