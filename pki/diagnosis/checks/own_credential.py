"""Our own credential: what could be read of it, and what another side would find wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from pki.diagnosis.checks.certificates.certificate import examine_certificate
from pki.diagnosis.checks.certificates.chain import examine_chain
from pki.diagnosis.checks.certificates.trust_path import Trust
from pki.diagnosis.observe.tls_handshake import CertifiedKey
from pki.diagnosis.report import Finding, Status, ok, unknown, warning
from pki.errors import PkiError
from pki.identity import SpiffeId
from pki.keys import PrivateKey
from pki.x509 import CrlSet, Purpose, read_names

# Faults that depend on the verifier's bundle, and how likely another verifier shares our view.
_DEPENDS_ON_BUNDLE = {"unknown-ca": 75, "self-signed": 90}
# Faults of files with which we verify others: the other side does not see them.
NOT_PRESENTED = frozenset(
    {"stale-crl", "clock-skew", "no-crl", "incomplete-files", "key-permissions"}
)
# A fault of what we send that a verifier makes up for, if its bundle holds the CA between.
_MADE_UP_FOR = "incomplete-chain"


@dataclass(frozen=True, slots=True)
class OwnCredential:
    """What could be read of a credential.

    Args:
        chain: leaf first; empty if it can't be read.
        key: the private key; None if it can't be read, or belongs to another certificate.
        roots: the roots to trust.
        crls: the revocation lists; None if there are none.
        findings: a finding for each part that can't be used.
    """

    chain: tuple[x509.Certificate, ...] = ()
    key: PrivateKey | None = None
    roots: tuple[x509.Certificate, ...] = ()
    crls: CrlSet | None = None
    findings: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        """Show nothing of the key."""
        return f"OwnCredential({len(self.chain)} certificates)"

    @property
    def spiffe_id(self) -> SpiffeId | None:
        """The workload's SPIFFE ID; None if it can't be read."""
        try:
            return read_names(self.chain[0]).spiffe_id if self.chain else None
        except PkiError:
            return None

    @property
    def certified_key(self) -> CertifiedKey | None:
        """The chain and the key to present in a handshake; None where one of them is missing."""
        return CertifiedKey(self.chain, self.key) if self.chain and self.key is not None else None

    def trust(self, whose: str = "our bundle") -> Trust:
        """Return what another side's chain is checked against."""
        crls = tuple(self.crls.crls.values()) if self.crls else ()
        return Trust(self.roots, crls, self.chain[1:], whose)


def examine_own(
    own: OwnCredential,
    purpose: Purpose,
    now: datetime,
    known_cas: tuple[x509.Certificate, ...] = (),
) -> list[Finding]:
    """Examine our own credential.

    Args:
        own: the credential.
        purpose: the end at which we present it.
        now: the time, aware.
        known_cas: further CA certificates, such as those in the server's chain.
    """
    whose = "our certificate"
    if not own.chain:
        return list(own.findings)
    findings = list(own.findings)
    if own.key is not None:
        findings.append(ok("our key", "belongs to our certificate"))
    findings += examine_certificate(whose, own.chain[0], purpose, now)
    chain = examine_chain(whose, own.chain, replace(own.trust(), known_cas=known_cas), purpose, now)
    return [*findings, *(_as_another_verifies(item) for item in chain)]


def _as_another_verifies(item: Finding) -> Finding:
    """Return a finding on our chain as likely, not sure, where the other side's bundle decides.

    In many deployments the two bundles differ: ours holds the servers' CA, theirs the clients' CA.
    """
    likelihood = _DEPENDS_ON_BUNDLE.get(item.failure or "")
    if likelihood is None or item.status is not Status.FAILED or not item.is_sure:
        return item
    return replace(item, likelihood=likelihood)


def adjust_to_acceptance(ours: Sequence[Finding], *, accepted: bool) -> list[Finding]:
    """Return the findings on our credential, with the likely ones decided by the server's answer.

    Args:
        ours: the findings.
        accepted: whether the server accepted our certificate.
    """
    findings: list[Finding] = []
    for item in ours:
        if item.is_cause and item.failure == _MADE_UP_FOR and accepted:
            message = f"{item.message}; this server has it, others may not"
            findings.append(warning(item.check, _MADE_UP_FOR, message))
        elif item.is_sure:
            findings.append(item)
        elif any(other.check == item.check for other in findings):
            # One finding for a check; likely causes are ranked where the server refuses.
            continue
        elif accepted and item.failure is not None:
            message = f"{item.message}; this server accepts it, but our own side would not"
            findings.append(warning(item.check, item.failure, message))
        else:
            findings.append(unknown(item.check, item.message))
    return findings
