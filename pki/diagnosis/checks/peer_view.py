"""What a server finds of a caller, by the server's own credential.

With the server's credential at hand nothing is guessed: the caller's chain is checked against the
server's roots and revocation lists, as the server does it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cryptography import x509

from pki.diagnosis.checks.certificates.certificate import examine_certificate
from pki.diagnosis.checks.certificates.chain import examine_chain
from pki.diagnosis.checks.own_credential import NOT_PRESENTED, OwnCredential, examine_own
from pki.diagnosis.checks.server_name import examine_names, parse_host
from pki.diagnosis.report import Finding, Status, failed, ok, warning
from pki.errors import PkiError, VerificationError
from pki.x509 import CLIENT, WORKLOAD, ChainVerifier, Fault, Purpose, RevocationMode, TrustBundle

ACCEPTS_SERVER = "the caller accepts the server's certificate"
_LEFT = "it left after it received the server's certificate, without a reason"
_HANDFAST = "handfast's verification"
_SLUGS = {
    Fault.EXPIRED: "expired",
    Fault.NOT_YET_VALID: "not-yet-valid",
    Fault.REVOKED: "revoked",
    Fault.ISSUER_REVOKED: "issuer-revoked",
    Fault.REVOCATION_UNKNOWN: "no-crl",
    Fault.UNTRUSTED: "unknown-ca",
    Fault.NAME_MISMATCH: "wrong-name",
    Fault.PROFILE: "malformed",
    Fault.INVALID: "malformed",
}


def examine_caller(
    whose: str,
    chain: tuple[x509.Certificate, ...],
    server: OwnCredential,
    now: datetime,
) -> list[Finding]:
    """Examine a caller's chain as the server with this credential would.

    Args:
        whose: for the names of the checks, e.g. ``the caller's certificate``.
        chain: the chain that the caller presents, leaf first.
        server: the server's credential.
        now: the time, aware.
    """
    trust = replace(server.trust(), whose="the server's bundle", is_authoritative=True)
    findings = [
        *examine_certificate(whose, chain[0], Purpose.CLIENT, now),
        *examine_chain(whose, chain, trust, Purpose.CLIENT, now),
    ]
    findings = [_as_a_grpc_server(item) for item in findings]
    if any(item.status is Status.FAILED for item in findings):
        return findings
    return [*findings, *_verify_by_handfast(whose, chain, server, now)]


def _as_a_grpc_server(item: Finding) -> Finding:
    """Return a fault that only gRPC servers refuse as a likely cause: the server may be another."""
    if item.status is Status.WARNING and item.failure == "unsupported-key":
        return replace(item, status=Status.FAILED, likelihood=80)
    return item


def examine_departure(server: OwnCredential, requested_name: str, now: datetime) -> list[Finding]:
    """Rank why a caller left without a reason after it received the server's certificate.

    Args:
        server: the server's credential.
        requested_name: the name that the caller asked for; empty if it named none.
        now: the time, aware.
    """
    likelihoods: dict[str, int] = {}
    for item in examine_own(server, Purpose.SERVER, now):
        slug = item.failure
        if item.status is Status.FAILED and slug is not None and slug not in NOT_PRESENTED:
            likelihoods.setdefault(slug, item.likelihood or 90)
    findings = [
        failed(
            ACCEPTS_SERVER, slug, f"{_LEFT}; the certificate has this fault", likelihood=likelihood
        )
        for slug, likelihood in likelihoods.items()
    ]
    findings += examine_requested_name(server, requested_name)
    why = f"{_LEFT}; its bundle may not hold the root of the server's certificate"
    return [*findings, failed(ACCEPTS_SERVER, "unknown-ca", why, likelihood=50)]


def examine_requested_name(server: OwnCredential, requested_name: str) -> list[Finding]:
    """Check the name that a caller asked for against the server's certificate.

    gRPC checks it after the handshake, and leaves without a reason if it does not match.
    """
    try:
        name = parse_host(requested_name) if requested_name else None
    except PkiError:
        name = None
    if name is None:
        return []
    return [
        replace(
            item,
            check=ACCEPTS_SERVER,
            message=f"{_LEFT}; {item.message}",
            likelihood=80,
            handshake_result="",
        )
        for item in examine_names(server.chain[0], name)
        if item.status is Status.FAILED
    ]


def _verify_by_handfast(
    whose: str, chain: tuple[x509.Certificate, ...], server: OwnCredential, now: datetime
) -> list[Finding]:
    check = f"{whose}: {_HANDFAST}"
    own = server.spiffe_id
    profile = WORKLOAD if own is not None else CLIENT
    try:
        bundle = TrustBundle.of_roots(server.roots, default=own.trust_domain if own else None)
        ChainVerifier(bundle, server.crls, mode=RevocationMode.WHEN_PRESENT).verify(
            chain, profile=profile, purpose=Purpose.CLIENT, at=now
        )
    except PkiError as error:
        fault = error.fault if isinstance(error, VerificationError) else None
        slug = "malformed" if fault is None else _SLUGS.get(fault, "malformed")
        if own is None:
            return [warning(check, slug, error.message)]
        return [failed(check, slug, error.message)]
    return [ok(check, "a handfast server accepts it")]
