"""What a server's own credential says of us: the same questions, asked from its end.

With the server's credential at hand nothing need be guessed: our chain is held against its roots
and lists, as it does.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cryptography import x509

from pki.diagnosis.certificates import examine_certificate
from pki.diagnosis.chains import examine_chain
from pki.diagnosis.finding import Finding, Status, failed, ok, warning
from pki.diagnosis.own import OwnCredential
from pki.errors import PkiError
from pki.x509 import CLIENT, WORKLOAD, ChainVerifier, Fault, Purpose, RevocationMode, TrustBundle

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
    found = [
        *examine_certificate(whose, chain[0], Purpose.CLIENT, now),
        *examine_chain(whose, chain, replace(server.trust(), whose="the server's bundle"), now),
    ]
    if any(item.status is Status.FAILED for item in found):
        return found
    return [*found, *_by_handfast(whose, chain, server, now)]


def _by_handfast(
    whose: str, chain: tuple[x509.Certificate, ...], server: OwnCredential, now: datetime
) -> list[Finding]:
    question = f"{whose}: {_HANDFAST}"
    own = server.spiffe_id
    profile = WORKLOAD if own is not None else CLIENT
    try:
        bundle = TrustBundle.of_roots(server.roots, default=own.trust_domain if own else None)
        ChainVerifier(bundle, server.lists, mode=RevocationMode.WHEN_PRESENT).verify(
            chain, profile=profile, purpose=Purpose.CLIENT, at=now
        )
    except PkiError as error:
        slug = (
            _SLUGS.get(Fault(error.fault), "malformed") if hasattr(error, "fault") else "malformed"
        )
        if own is None:
            return [warning(question, slug, error.message)]
        return [failed(question, slug, error.message)]
    return [ok(question, "it accepts it")]
