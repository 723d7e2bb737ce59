"""What a server's own credential says of us: the same questions, asked from its end.

With the server's credential at hand nothing need be guessed: our chain is held against its roots
and lists, as it does.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cryptography import x509

from pki.diagnosis.checks.certificate import examine_certificate
from pki.diagnosis.checks.chain import examine_chain
from pki.diagnosis.checks.credential_files import OwnCredential, examine_own
from pki.diagnosis.checks.server_name import examine_names, read_host
from pki.diagnosis.report import Finding, Status, failed, ok, warning
from pki.errors import PkiError, VerificationError
from pki.x509 import CLIENT, WORKLOAD, ChainVerifier, Fault, Purpose, RevocationMode, TrustBundle

TAKES_SERVER = "the caller takes the server's certificate"
_LEFT = "it left when it had been shown the server's certificate, and said no word"
_HANDFAST = "as handfast judges"
_SLUGS = {
    Fault.EXPIRED: "expired",
    Fault.NOT_YET_VALID: "not-yet-valid",
    Fault.REVOKED: "revoked",
    Fault.ISSUER_REVOKED: "issuer-revoked",
    Fault.REVOCATION_UNKNOWN: "no-list",
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
        whose: for the questions, e.g. ``the caller's certificate``.
        chain: what the caller shows, leaf first.
        server: the server's credential.
        now: the time, aware.
    """
    trust = replace(server.trust(), whose="the server's bundle", decides=True)
    found = [
        *examine_certificate(whose, chain[0], Purpose.CLIENT, now),
        *examine_chain(whose, chain, trust, now),
    ]
    found = [_as_a_server_of_grpc(item) for item in found]
    if any(item.status is Status.FAILED for item in found):
        return found
    return [*found, *_by_handfast(whose, chain, server, now)]


def _as_a_server_of_grpc(item: Finding) -> Finding:
    """Take for likely what only a server of gRPC refuses: whether ours is one can't be seen."""
    if item.status is Status.WARNING and item.failure == "unsupported-key":
        return replace(item, status=Status.FAILED, likely=80)
    return item


def examine_departure(server: OwnCredential, asked_for: str, now: datetime) -> list[Finding]:
    """Rank why a caller left without a word when it had been shown the server's certificate.

    Args:
        server: the server's credential.
        asked_for: the name that the caller asked for; empty if it named none.
        now: the time, aware.
    """
    found: dict[str, int] = {}
    for item in examine_own(server, Purpose.SERVER, now):
        if item.status is Status.FAILED and item.failure is not None:
            found.setdefault(item.failure, item.likely or 90)
    findings = [
        failed(TAKES_SERVER, slug, f"{_LEFT}; the certificate has this fault", likely=likely)
        for slug, likely in found.items()
    ]
    findings += examine_asked_name(server, asked_for)
    why = f"{_LEFT}; its bundle may not hold the root of the server's certificate"
    return [*findings, failed(TAKES_SERVER, "unknown-ca", why, likely=50)]


def examine_asked_name(server: OwnCredential, asked_for: str) -> list[Finding]:
    """Hold the name that a caller asked for against the server's certificate.

    gRPC does so when the handshake is done, and leaves without a word if it is another.
    """
    try:
        name = read_host(asked_for) if asked_for else None
    except PkiError:
        name = None
    if name is None:
        return []
    return [
        replace(item, question=TAKES_SERVER, words=f"{_LEFT}; {item.words}", likely=80, verdict="")
        for item in examine_names(server.chain[0], name)
        if item.status is Status.FAILED
    ]


def _by_handfast(
    whose: str, chain: tuple[x509.Certificate, ...], server: OwnCredential, now: datetime
) -> list[Finding]:
    question = f"{whose}: {_HANDFAST}"
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
            return [warning(question, slug, error.message)]
        return [failed(question, slug, error.message)]
    return [ok(question, "it accepts it")]
