"""Whether a server accepts our certificate, and if not, why: the sure cause, or ranked causes.

A gRPC server that refuses a certificate closes the connection without a reason, and names no CAs
when it requests one. Then the causes are ranked by what this end can observe: our own times, chain,
key and usage, and whether the server's root is ours too. A fault of ours that every server refuses
is the cause, and no other is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509

from pki.diagnosis.checks.issuer_path import is_self_issued, path_from_leaf, quote_name
from pki.diagnosis.checks.own_credential import OwnCredential
from pki.diagnosis.checks.tls_alerts import HANDSHAKE_FAILURE, describe_alert
from pki.diagnosis.observe.tls_handshake import Handshake, HandshakeEnd
from pki.diagnosis.report import Finding, Status, failed, ok, symptom, unknown, warning

_REQUESTS = "requests a certificate"
_ACCEPTS = "accepts our certificate"
_NO_REASON = "the server closed the connection after it received our certificate, without a reason"
_VERDICT = "PEER_CONNECTION_CLOSED"
_RECENT = timedelta(minutes=5)

# For each fault of ours: how likely a server that gives no reason refuses us for it.
_WEIGHTS = {
    "expired": 95,
    "not-yet-valid": 95,
    "self-signed": 90,
    "wrong-usage": 90,
    "ca-as-leaf": 88,
    "unsupported-key": 92,
    "weak-key": 80,
    "weak-signature": 85,
    "name-constraint": 85,
    "incomplete-chain": 88,
    "bad-signature": 85,
    "unknown-ca": 75,
    "malformed": 70,
    "chain-order": 20,
    "revoked": 60,
    "issuer-revoked": 60,
    "two-spiffe-ids": 40,
}
# From this weight on, a fault that was observed in our certificate is taken for the cause.
_SURE_CAUSE_WEIGHT = 75
# An unusual key is only a warning by itself, but where a server refuses us it weighs as a fault.
_WEIGHS_AS_WARNING = {"unsupported-key"}
# A clock difference that was observed comes before guesses about the roots.
_CLOCKS_DIFFER = 80
# Causes that our certificate can't show: they are listed, but never first.
_NOT_OBSERVABLE = (
    ("unknown-ca", 35, "its bundle may lack our root, or hold an older one"),
    (
        "clock-skew",
        20,
        "its clock may differ from ours, so that our certificate is expired or not yet valid there",
    ),
    (
        "revoked",
        10,
        "a revocation list that only the server has may name our certificate or its CA",
    ),
    ("stale-crl", 5, "a revocation list that it uses may be past its end"),
)


def examine_request(anonymous: Handshake, own: OwnCredential | None) -> list[Finding]:
    """Examine the request for a certificate in the anonymous handshake, and the CAs it names."""
    if not (anonymous.completed or anonymous.chain):
        return [unknown(_REQUESTS, "the handshake did not get that far")]
    if not anonymous.certificate_requested:
        return [
            warning(
                _REQUESTS,
                "no-client-auth",
                "it requests no client certificate: it can't know who calls",
            )
        ]
    if not anonymous.requested_issuers:
        return [ok(_REQUESTS, "it does, and names no CAs (gRPC names none)")]
    message = ", ".join(item.text for item in anonymous.requested_issuers[:5])
    if own is None or not own.chain:
        return [ok(_REQUESTS, f"it requests one of {message}")]
    wanted = {item.der for item in anonymous.requested_issuers}
    issuers = {item.issuer.public_bytes() for item in own.chain}
    if issuers & wanted:
        return [ok(_REQUESTS, f"it requests one of {message}; ours is among them")]
    return [
        failed(
            _REQUESTS,
            "ca-not-requested",
            f"it requests a certificate of {message}; ours is of "
            f"{quote_name(own.chain[-1].issuer)}",
            verdict="CERTIFICATE_AUTHORITY_INVALID",
        )
    ]


def examine_acceptance(
    anonymous: Handshake,
    with_certificate: Handshake | None,
    *,
    own: OwnCredential | None,
    ours: Sequence[Finding],
    server_chain: Sequence[x509.Certificate],
    now: datetime,
) -> list[Finding]:
    """Examine whether the server accepts our certificate.

    Args:
        anonymous: the handshake without a client certificate.
        with_certificate: the handshake with our certificate; None if we have none to present.
        own: our credential.
        ours: the findings on our credential.
        server_chain: the chain that the server presented.
        now: the time, aware.
    """
    if with_certificate is None:
        return _without_certificate(anonymous, own)
    if with_certificate.end in {HandshakeEnd.ACCEPTED, HandshakeEnd.SILENT}:
        return _accepted(with_certificate)
    if with_certificate.end is HandshakeEnd.ALERT and with_certificate.alert is not None:
        return _refused_by_alert(with_certificate, own, ours)
    if with_certificate.end is HandshakeEnd.FAILED:
        return [_failed_here(with_certificate)]
    if with_certificate.end is not HandshakeEnd.CLOSED:
        return [_broken_off(with_certificate)]
    if (
        anonymous.end in {HandshakeEnd.ACCEPTED, HandshakeEnd.SILENT}
        and not anonymous.certificate_requested
    ):
        return [unknown(_ACCEPTS, f"the connection ended: {with_certificate.message}; try again")]
    return rank_causes(own, ours, server_chain, now)


def _without_certificate(anonymous: Handshake, own: OwnCredential | None) -> list[Finding]:
    what = "no certificate was given" if own is None else "ours can't be presented"
    if anonymous.end in {HandshakeEnd.ACCEPTED, HandshakeEnd.SILENT}:
        return [ok("accepts callers without one", f"{what}, and it goes on")]
    if not anonymous.certificate_requested:
        return [unknown(_ACCEPTS, f"{what}, and the handshake ended: {anonymous.message}")]
    told = {116: "and says so", HANDSHAKE_FAILURE: "and ends the handshake"}
    message = told.get(anonymous.alert or 0, "and closes the connection without a reason")
    message = f"it requests a certificate, {what}, {message}"
    if own is not None:
        # It can't be presented for a fault of its own, or because its key is encrypted.
        whole = all(item.status is not Status.FAILED for item in own.faults)
        return [
            unknown(_ACCEPTS, message)
            if whole
            else symptom(_ACCEPTS, f"{message}; the reason is above")
        ]
    return [
        failed(
            _ACCEPTS,
            "no-client-certificate",
            message,
            remedy="Show it one: --credential DIR",
            verdict=_VERDICT,
        )
    ]


def _failed_here(with_certificate: Handshake) -> Finding:
    """Return why TLS failed at our own end, only in the handshake with our certificate."""
    message = f"TLS fails at our end: {with_certificate.message}"
    if any(sign in with_certificate.message for sign in ("signature", "can't be presented")):
        return failed(_ACCEPTS, "unsupported-key", message)
    return unknown(_ACCEPTS, message)


def _broken_off(with_certificate: Handshake) -> Finding:
    """Return that the handshake with our certificate broke off before it could be refused."""
    message = f"the handshake with our certificate breaks off: {with_certificate.message}"
    if with_certificate.end is HandshakeEnd.TIMED_OUT:
        return failed(
            _ACCEPTS, "handshake-timeout", message, likelihood=50, verdict="HANDSHAKE_TIMEOUT"
        )
    return unknown(_ACCEPTS, f"{message}; try again")


def _accepted(with_certificate: Handshake) -> list[Finding]:
    if with_certificate.end is HandshakeEnd.SILENT:
        return [
            unknown(
                _ACCEPTS,
                "the handshake completed, and the server sent nothing after it: it may still "
                "refuse",
            )
        ]
    if not with_certificate.certificate_requested:
        return [unknown(_ACCEPTS, "it did not request it, and goes on")]
    return [ok(_ACCEPTS, "it goes on after it received it")]


def _refused_by_alert(
    with_certificate: Handshake, own: OwnCredential | None, ours: Sequence[Finding]
) -> list[Finding]:
    assert with_certificate.alert is not None
    slug, name = describe_alert(with_certificate.alert)
    faults = {item.failure for item in ours if item.status is Status.FAILED and item.is_sure}
    message = f'it refuses our certificate with the alert "{name}"'
    if slug in faults or (slug == "client-refused" and faults):
        return [symptom(_ACCEPTS, f"{message}; what is wrong with ours is above")]
    if slug == "unknown-ca" and faults & {"incomplete-chain", "self-signed", "bad-signature"}:
        return [symptom(_ACCEPTS, f"{message}; the reason is above")]
    if slug == "unknown-ca" and own is not None and is_self_issued(own.chain[0]):
        return [failed(_ACCEPTS, "self-signed", f"{message}: ours is self-signed")]
    if slug == "no-client-certificate" and "unsupported-key" in faults:
        return [symptom(_ACCEPTS, f"{message}: TLS can't use a certificate with this key")]
    if slug == "no-client-certificate":
        why = (
            f"{message}: ours was not sent, because its key supports no signature "
            "algorithm of the server"
        )
        return [
            failed(_ACCEPTS, "unsupported-key", why, likelihood=80),
            failed(_ACCEPTS, slug, f"{message}: it saw none", likelihood=30),
        ]
    if slug == "unknown-ca" and own is not None and _lacks_issuer(own):
        # The alert is the same for both causes.
        why = f"{message}: it does not know {quote_name(own.chain[0].issuer)}, which was not sent"
        return [
            failed(_ACCEPTS, "incomplete-chain", why, likelihood=70),
            failed(_ACCEPTS, "unknown-ca", why, likelihood=60),
        ]
    if slug == "expired":
        message += ", and by this clock nothing in our chain has"
        mostly = f"{message}: its clock is ahead of ours"
        return [
            failed(_ACCEPTS, "clock-skew", mostly, likelihood=80, verdict="CERTIFICATE_EXPIRED"),
            failed(
                _ACCEPTS,
                "expired",
                f"{message}: the root in its own bundle may have",
                likelihood=40,
            ),
        ]
    if with_certificate.alert == HANDSHAKE_FAILURE:
        if "unsupported-key" in {item.failure for item in ours}:
            return [
                failed(_ACCEPTS, "unsupported-key", f"{message}; see our key above", likelihood=80)
            ]
        return [
            failed(_ACCEPTS, "cipher-mismatch", message, likelihood=60),
            failed(_ACCEPTS, "unsupported-key", message, likelihood=50),
            failed(
                _ACCEPTS,
                "unknown-ca",
                f"{message}, as some do for whatever is wrong",
                likelihood=30,
            ),
        ]
    return [failed(_ACCEPTS, slug, message)]


def _lacks_issuer(own: OwnCredential) -> bool:
    """Return whether our leaf is sent alone, and was issued by none of our roots."""
    path = path_from_leaf(own.chain)
    if len(path) > 1 or is_self_issued(path[0]):
        return False
    return all(root.subject != path[0].issuer for root in own.roots)


def rank_causes(
    own: OwnCredential | None,
    ours: Sequence[Finding],
    server_chain: Sequence[x509.Certificate],
    now: datetime,
    message: str = _NO_REASON,
    *,
    clock_difference: str = "",
) -> list[Finding]:
    """Rank the causes when a server refused us without a reason after it received our certificate.

    Args:
        own: our credential.
        ours: the findings on our credential.
        server_chain: the chain that the server presented.
        now: the time, aware.
        message: how the server refused us.
        clock_difference: how far the clocks differ, by the time in the server's answer; empty where
            they agree, or no time was sent.
    """
    causes: dict[str, Finding] = {}

    def add(slug: str, why: str, likelihood: int) -> None:
        if slug not in causes or causes[slug].likelihood < likelihood:
            causes[slug] = failed(
                _ACCEPTS, slug, f"{message}; {why}", likelihood=likelihood, verdict=_VERDICT
            )

    observed = [
        item for item in ours if item.failure in _WEIGHTS and item.status is not Status.UNKNOWN
    ]
    if any(_explains_refusal(item) for item in observed):
        return [symptom(_ACCEPTS, f"{message}; what is wrong with ours is above")]
    for item in observed:
        assert item.failure is not None
        add(item.failure, f"our own certificate: {item.message}", _weight(item))
    if own is not None and own.chain:
        for why, likelihood in _other_root(own, server_chain):
            add("unknown-ca", why, likelihood)
        begun = now - own.chain[0].not_valid_before_utc
        if timedelta(0) <= begun < _RECENT:
            add(
                "clock-skew",
                "ours became valid a moment ago: a server whose clock is behind does not "
                "accept it yet",
                25,
            )
    if clock_difference:
        why = (
            f"the clocks are {clock_difference}: by the server's clock, ours may be "
            "expired or not yet valid"
        )
        add("clock-skew", why, _CLOCKS_DIFFER)
    for slug, likelihood, why in _NOT_OBSERVABLE:
        add(slug, why, likelihood)
    return sorted(causes.values(), key=lambda item: -item.likelihood)


def _explains_refusal(item: Finding) -> bool:
    return (
        item.status is Status.FAILED
        and item.is_sure
        and _WEIGHTS[item.failure or ""] >= _SURE_CAUSE_WEIGHT
    )


def _weight(item: Finding) -> int:
    weight = _WEIGHTS[item.failure or ""]
    if item.likelihood:
        # A cause that is only likely itself weighs less in proportion.
        return weight * item.likelihood // 100
    if item.status is Status.WARNING and item.failure not in _WEIGHS_AS_WARNING:
        return min(weight, 30)
    return weight


def _other_root(
    own: OwnCredential, server_chain: Sequence[x509.Certificate]
) -> list[tuple[str, int]]:
    """Compare the root of the server's own chain with the root of ours."""
    if not server_chain:
        return []
    path = path_from_leaf(own.chain)
    theirs = path_from_leaf(server_chain)[-1].issuer
    ours = path[-1].issuer
    if theirs == ours:
        return []
    # A leaf sent alone may lead to the same root by an intermediate CA that was not sent.
    likelihood = 55 if _lacks_issuer(own) else 70
    return [
        (
            f"its own chain ends in {quote_name(theirs)}, ours in {quote_name(ours)}: it "
            "may trust only its own "
            "CA; renew from its CA, or add our root to its bundle",
            likelihood,
        )
    ]
