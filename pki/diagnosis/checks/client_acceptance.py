"""Whether a server accepts our certificate, and if not, why: the sure cause, or ranked causes.

Some servers say why they refuse a certificate, by an alert. A gRPC server does not: it closes the
connection, and names no CAs when it requests a certificate. Then the causes are ranked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from pki.diagnosis.checks.issuer_path import is_self_issued, quote_name
from pki.diagnosis.checks.own_credential import OwnCredential
from pki.diagnosis.checks.refusal_causes import (
    ACCEPTS,
    CLOSED,
    lacks_issuer,
    rank_causes,
)
from pki.diagnosis.checks.tls_alerts import HANDSHAKE_FAILURE, describe_alert
from pki.diagnosis.observe.tls_handshake import Handshake, HandshakeEnd
from pki.diagnosis.report import Finding, Status, failed, ok, symptom, unknown, warning

_REQUESTS = "requests a certificate"


def examine_request(anonymous: Handshake, own: OwnCredential | None) -> list[Finding]:
    """Examine the request for a certificate in the anonymous handshake, and the CAs it names."""
    if not (anonymous.completed or anonymous.chain):
        return [unknown(_REQUESTS, "the handshake did not get that far")]
    if not anonymous.certificate_requested:
        return [
            warning(
                _REQUESTS,
                "no-client-auth",
                "the server requests no client certificate: it can't know who calls",
            )
        ]
    if not anonymous.requested_issuers:
        return [ok(_REQUESTS, "the server requests one, and names no CAs (gRPC servers never do)")]
    message = ", ".join(item.text for item in anonymous.requested_issuers[:5])
    if own is None or not own.chain:
        return [ok(_REQUESTS, f"the server requests one of {message}")]
    wanted = {item.der for item in anonymous.requested_issuers}
    issuers = {item.issuer.public_bytes() for item in own.chain}
    if issuers & wanted:
        return [ok(_REQUESTS, f"the server requests one of {message}; ours is among them")]
    return [
        failed(
            _REQUESTS,
            "ca-not-requested",
            f"the server requests a certificate of {message}; ours is of "
            f"{quote_name(own.chain[-1].issuer)}",
            handshake_result="CERTIFICATE_AUTHORITY_INVALID",
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
        return [unknown(ACCEPTS, f"the connection ended: {with_certificate.message}; try again")]
    return rank_causes(own, ours, server_chain, now)


def _without_certificate(anonymous: Handshake, own: OwnCredential | None) -> list[Finding]:
    what = "no certificate was given" if own is None else "ours can't be presented"
    if anonymous.end in {HandshakeEnd.ACCEPTED, HandshakeEnd.SILENT}:
        return [ok("accepts callers without one", f"{what}, and the server continues")]
    if not anonymous.certificate_requested:
        return [unknown(ACCEPTS, f"{what}, and the handshake ended: {anonymous.message}")]
    endings = {116: "says so", HANDSHAKE_FAILURE: "ends the handshake"}
    ending = endings.get(anonymous.alert or 0, "closes the connection without a reason")
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
            handshake_result=CLOSED,
        )
    ]


def _failed_here(with_certificate: Handshake) -> Finding:
    """Return why TLS failed at our own end, only in the handshake with our certificate."""
    message = f"TLS fails at our end: {with_certificate.message}"
    if any(sign in with_certificate.message for sign in ("signature", "can't be presented")):
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
    if with_certificate.end is HandshakeEnd.SILENT:
        return [
            unknown(
                ACCEPTS,
                "the handshake completed, and the server sent nothing after it: it may still "
                "refuse",
            )
        ]
    if not with_certificate.certificate_requested:
        return [unknown(ACCEPTS, "the server did not request our certificate, and continues")]
    return [ok(ACCEPTS, "the server continues after it received our certificate")]


def _refused_by_alert(
    with_certificate: Handshake, own: OwnCredential | None, ours: Sequence[Finding]
) -> list[Finding]:
    assert with_certificate.alert is not None
    slug, name = describe_alert(with_certificate.alert)
    failures = {item.failure for item in ours if item.status is Status.FAILED and item.is_sure}
    message = f'the server refuses our certificate with the alert "{name}"'
    if slug in failures or (slug == "client-refused" and failures):
        return [symptom(ACCEPTS, f"{message}; what is wrong with ours is above")]
    if slug == "unknown-ca" and failures & {"incomplete-chain", "self-signed", "bad-signature"}:
        return [symptom(ACCEPTS, f"{message}; the reason is above")]
    if slug == "unknown-ca" and own is not None and is_self_issued(own.chain[0]):
        return [failed(ACCEPTS, "self-signed", f"{message}: ours is self-signed")]
    if slug == "no-client-certificate" and "unsupported-key" in failures:
        return [symptom(ACCEPTS, f"{message}: TLS can't use a certificate with this key")]
    if slug == "no-client-certificate":
        why = (
            f"{message}: ours was not sent, because its key supports no signature algorithm of "
            "the server"
        )
        return [
            failed(ACCEPTS, "unsupported-key", why, likelihood=80),
            failed(ACCEPTS, slug, f"{message}: it received none", likelihood=30),
        ]
    if slug == "unknown-ca" and own is not None and lacks_issuer(own):
        # The alert is the same for both causes.
        why = f"{message}: it does not know {quote_name(own.chain[0].issuer)}, which was not sent"
        return [
            failed(ACCEPTS, "incomplete-chain", why, likelihood=70),
            failed(ACCEPTS, "unknown-ca", why, likelihood=60),
        ]
    if slug == "expired":
        message += ", but by this clock nothing in our chain has expired"
        mostly = f"{message}: its clock is ahead of ours"
        return [
            failed(
                ACCEPTS, "clock-skew", mostly, likelihood=80, handshake_result="CERTIFICATE_EXPIRED"
            ),
            failed(
                ACCEPTS,
                "expired",
                f"{message}: the root in its own bundle may have expired",
                likelihood=40,
            ),
        ]
    if with_certificate.alert == HANDSHAKE_FAILURE:
        if "unsupported-key" in {item.failure for item in ours}:
            return [
                failed(ACCEPTS, "unsupported-key", f"{message}; see our key above", likelihood=80)
            ]
        return [
            failed(ACCEPTS, "cipher-mismatch", message, likelihood=60),
            failed(ACCEPTS, "unsupported-key", message, likelihood=50),
            failed(
                ACCEPTS,
                "unknown-ca",
                f"{message}, as some servers do for any reason",
                likelihood=30,
            ),
        ]
    return [failed(ACCEPTS, slug, message)]
