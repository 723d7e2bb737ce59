"""Verify certificate chains of peers and files.

The rules; 1 to 6 in the order in which they are applied:

1. The chain is bounded: at most 8 certificates, and 3 CAs between leaf and root.
2. The leaf passes the check of its profile, for the given purpose.
3. Only the roots of the trust domain in the leaf's URI are trust anchors; for a leaf without a URI,
   all roots are.
4. OpenSSL builds and verifies the path (X509_STRICT, no partial chain) at the given time, with the
   CRL of every issuer on it; without CRLs where none is required, or while one is in its grace. A
   path that OpenSSL refuses is refused.
5. Each CA and the root on that path pass the check of their profiles. In addition to OpenSSL, each
   CRL is checked here: its issuer's signature, the serial numbers in it, and its time.
6. The leaf holds the expected name, if there is one, under its own type.
7. A path that was accepted once need not be built again (``verify_again``) if all this holds: its
   root is trusted, its certificates are valid, this verifier has already built a path through the
   same issuers, and the checks of CRLs in rule 5 pass.
8. If CRLs are withheld (nobody can know any more whether there are newer ones), every certificate
   is refused, unless no CRL is required and there are none.

Nothing here reads a clock: time is an argument.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509

from pki.errors import CertificateError, InputError, VerificationError, quote_untrusted
from pki.fault import Fault
from pki.identity import DnsName, SpiffeId
from pki.x509.bundle import TrustBundle
from pki.x509.names import CertificateNames, IpAddress
from pki.x509.path import PathBuilder
from pki.x509.profiles import IssuingProfile, LeafProfile, Purpose, RootProfile, rules
from pki.x509.proof import PathLink, PathProof, add_or_max
from pki.x509.readers import MAX_CHAIN_LENGTH
from pki.x509.revocation import Crl, CrlSet, IssuerId

MAX_INTERMEDIATES = 3
# 24 hours from the issue, and notBefore is at most an hour earlier.
SHORT_LIFETIME = timedelta(hours=25)
_MOST_JUDGED = 256  # peers choose which CAs they send

ExpectedName = SpiffeId | DnsName | IpAddress


class RevocationMode(StrEnum):
    """The user's setting for certificates whose issuer has no CRL here."""

    REQUIRED = "required"
    """Refuse unless there is a fresh CRL of every issuer on the path."""
    WHEN_PRESENT = "when-present"
    """Use the CRLs that are there; accept certificates of an issuer without one."""
    SHORT_LIVED = "short-lived"
    """As when-present for leaves that live at most 24 hours after issue; others need CRLs."""


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """A chain that was accepted at some time.

    ``path`` runs from the leaf to the root. The result is valid from ``valid_from`` until just
    before ``valid_until``: the time that the certificates and the CRLs used have in common.
    """

    path: tuple[x509.Certificate, ...]
    names: CertificateNames
    valid_from: datetime
    valid_until: datetime
    proof: PathProof

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate that was verified."""
        return self.path[0]


class ChainVerifier:
    """Verifies chains against one set of roots and one set of CRLs.

    Making a verifier, and verifying the first chain of each issuer, costs as much as reading all
    CRLs. So keep a verifier until roots or CRLs change. Safe for use by several threads.

    Args:
        bundle: the trusted roots.
        crls: the revocation lists.
        mode: what to do if a CRL is missing.
        grace: how long after its ``nextUpdate`` a CRL is still accepted.
        withheld: why the CRLs can't be relied on any more; empty while they can.
    """

    def __init__(
        self,
        bundle: TrustBundle,
        crls: CrlSet | None = None,
        *,
        mode: RevocationMode = RevocationMode.REQUIRED,
        grace: timedelta = timedelta(0),
        withheld: str = "",
    ) -> None:
        self.token = object()
        """Identifies this verifier in caches, which must not keep the verifier itself alive."""
        self.bundle = bundle
        self.crls = crls or CrlSet.none()
        self._mode = mode
        self._grace = max(grace, timedelta(0))
        self.withheld = withheld
        self._builders: dict[tuple[tuple[x509.Certificate, ...], bool], PathBuilder] = {}
        # CRLs and the issuers whose signatures on them are valid: a long CRL takes milliseconds.
        self._signed: set[tuple[IssuerId, x509.Certificate]] = set()
        # Issuers for which OpenSSL has accepted a path with these CRLs.
        self._accepted: set[tuple[bool, tuple[x509.Certificate, ...]]] = set()
        self._judged: set[tuple[bool, Sequence[x509.Certificate]]] = set()
        self._authorities: set[tuple[tuple[x509.Certificate, ...], int | None]] = set()
        self._lock = threading.Lock()

    def verify(
        self,
        chain: Sequence[x509.Certificate],
        *,
        profile: LeafProfile,
        purpose: Purpose,
        at: datetime,
        expected: ExpectedName | None = None,
        max_intermediates: int | None = None,
    ) -> VerifiedChain:
        """Verify a chain.

        Args:
            chain: the leaf first, then the CAs that came with it, in any order.
            profile: the kind of leaf that is accepted.
            purpose: the end of the connection at which the leaf was presented.
            at: the time, with a time zone; fractions of a second are cut off.
            expected: a name that the leaf must hold under its own type.
            max_intermediates: how many CAs may be between leaf and root; None takes 3.

        Raises:
            VerificationError: if the chain is not accepted; ``fault`` says why.
            ValueError: if the time has no time zone.
        """
        if at.tzinfo is None:
            raise ValueError("the time of a verification needs a time zone")
        if not chain or len(chain) > MAX_CHAIN_LENGTH:
            raise VerificationError(
                f"chain holds {len(chain)} certificates; 1 to {MAX_CHAIN_LENGTH} are allowed",
                fault=Fault.INVALID,
            )
        # In UTC, because pyOpenSSL ignores the time zone.
        leaf, at = chain[0], at.astimezone(UTC).replace(microsecond=0)
        try:
            names = profile.check(leaf, purpose)
        except InputError as error:
            raise VerificationError(
                error.message, fault=Fault.PROFILE, remedy=error.remedy
            ) from error
        roots = self._roots_for(names)
        crls_required = self._requires_crls(_lifetime(leaf))
        # OpenSSL knows no grace and no optional CRLs: then _check_crls alone checks them.
        with_crls = crls_required and not self._any_in_grace(at)
        # OpenSSL judges CRLs once for each issuer; then the lookup below is enough.
        sent = (crls_required, tuple(chain[1:]))
        is_judged = sent in self._judged
        path = self._builder(roots, with_crls=with_crls and not is_judged).build_path(chain, at)
        if with_crls and is_judged and (crls_required, path[1:]) not in self._accepted:
            path = self._builder(roots, with_crls=True).build_path(chain, at)
        above = (path[1:], max_intermediates)
        if above not in self._authorities:
            _check_authorities(path, max_intermediates)
            self._authorities.add(above)
        proof = PathProof.of(path, names)
        crls_from, crls_until = self._check_crls(proof.links, at, crls_required=crls_required)
        self._accepted.add((crls_required, proof.issuers))
        if with_crls and len(self._judged) < _MOST_JUDGED:
            self._judged.add(sent)
        _check_expected(names, expected)
        return VerifiedChain(
            path, names, max(proof.begin, crls_from), min(proof.end, crls_until), proof
        )

    def verify_again(self, proof: PathProof, at: datetime) -> tuple[datetime, datetime] | None:
        """Verify a path that was accepted before, maybe with other CRLs, without building it.

        Args:
            proof: from :meth:`verify` of this verifier, or of another one with the same mode.
            at: the time, with a time zone; fractions of a second are cut off.

        Returns:
            From when and until just before when the result is valid. None if the path has to be
            built: then call :meth:`verify`.

        Raises:
            VerificationError: if a CRL revokes a certificate of the path, or can't be relied on.
        """
        at = at.astimezone(UTC).replace(microsecond=0)
        domain = proof.trust_domain
        roots = self.bundle.all_roots() if domain is None else self.bundle.roots_of(domain)
        if not proof.begin <= at < proof.end or proof.issuers[-1] not in roots:
            return None
        crls_required = self._requires_crls(proof.lifetime)
        valid_from, valid_until = self._check_crls(proof.links, at, crls_required=crls_required)
        if (crls_required, proof.issuers) not in self._accepted:
            return None
        return max(proof.begin, valid_from), min(proof.end, valid_until)

    def _requires_crls(self, lifetime: timedelta) -> bool:
        return self._mode is RevocationMode.REQUIRED or (
            self._mode is RevocationMode.SHORT_LIVED and lifetime > SHORT_LIFETIME
        )

    def _roots_for(self, names: CertificateNames) -> tuple[x509.Certificate, ...]:
        if names.spiffe_id is None:
            return self.bundle.all_roots()
        domain = names.spiffe_id.trust_domain
        roots = self.bundle.roots_of(domain)
        if not roots:
            raise VerificationError(
                f"trust domain {domain} is not trusted: the bundle holds "
                + ", ".join(sorted(name.name for name in self.bundle.roots)),
                fault=Fault.UNTRUSTED,
                remedy="Add its root to the trust bundle, if you want to trust it",
            )
        return roots

    def _any_in_grace(self, at: datetime) -> bool:
        return any(
            item.next_update < at <= add_or_max(item.next_update, self._grace)
            for item in self.crls.crls.values()
        )

    def _builder(self, roots: tuple[x509.Certificate, ...], *, with_crls: bool) -> PathBuilder:
        with self._lock:
            if (roots, with_crls) not in self._builders:
                crls = self.crls if with_crls else None
                self._builders[roots, with_crls] = PathBuilder(roots, crls)
            return self._builders[roots, with_crls]

    def _check_crls(
        self, links: tuple[PathLink, ...], at: datetime, *, crls_required: bool
    ) -> tuple[datetime, datetime]:
        """Check each certificate below the root against its issuer's CRL.

        Returns:
            From when and until when all CRLs that were used are valid.
        """
        valid_from = datetime.min.replace(tzinfo=UTC)
        valid_until = datetime.max.replace(tzinfo=UTC)
        if self.withheld and (crls_required or self.crls.crls):
            raise VerificationError(self.withheld, fault=Fault.REVOCATION_UNKNOWN)
        for depth, link in enumerate(links):
            issuer = link.issuer
            if (link.issuer_id.key_id, link.serial) in self.crls.announced:
                raise _revoked_error(link, depth)
            crl = self.crls.crls.get(link.issuer_id)
            if crl is None:
                if crls_required:
                    raise VerificationError(
                        "there is no revocation list of the issuer "
                        + quote_untrusted(issuer.subject.rfc4514_string()),
                        fault=Fault.REVOCATION_UNKNOWN,
                        remedy="Bring its list, or set revocation to when-present or short-lived",
                    )
                continue
            self._check_signature(crl, issuer)
            if link.serial in crl.revoked:
                raise _revoked_error(link, depth)
            end = add_or_max(crl.next_update, self._grace)
            if not crl.this_update <= at <= end:
                raise VerificationError(
                    f"revocation list number {crl.number} is valid from {crl.this_update} to "
                    f"{crl.next_update}, not at {at}",
                    fault=Fault.REVOCATION_UNKNOWN,
                    remedy="A clock is or was ahead: set it right, then handfast crl"
                    if at < crl.this_update
                    else "Bring a fresh list",
                )
            valid_from = max(valid_from, crl.this_update)
            valid_until = min(valid_until, end)
        return valid_from, valid_until

    def _check_signature(self, crl: Crl, issuer: x509.Certificate) -> None:
        if (crl.issuer, issuer) in self._signed:
            return
        usage = rules.find(issuer, x509.KeyUsage)
        if usage is None or not usage.value.crl_sign:
            raise VerificationError(
                "issuer may not sign revocation lists", fault=Fault.REVOCATION_UNKNOWN
            )
        if not crl.is_signed_by(issuer):
            raise VerificationError(
                "revocation list is not signed by the issuer that it names",
                fault=Fault.REVOCATION_UNKNOWN,
            )
        self._signed.add((crl.issuer, issuer))


def _revoked_error(link: PathLink, depth: int) -> VerificationError:
    return VerificationError(
        f"certificate {link.serial:x} was revoked by its issuer",
        fault=Fault.ISSUER_REVOKED if depth else Fault.REVOKED,
        remedy="Issue a new one with a new key",
    )


def _check_authorities(path: tuple[x509.Certificate, ...], most: int | None) -> None:
    most = MAX_INTERMEDIATES if most is None else most
    # RFC 5280 §6.1.4 (l): self-issued CAs are not counted.
    counted = sum(item.subject != item.issuer for item in path[1:-1])
    if counted > most:
        raise VerificationError(
            f"path has {counted} CAs between leaf and root; {most} is the most",
            fault=Fault.INVALID,
        )
    try:
        for authority in path[1:-1]:
            IssuingProfile.check(authority)
        RootProfile.check(path[-1])
    except CertificateError as error:
        raise VerificationError(
            f"CA certificate on the path: {error.message}",
            fault=Fault.PROFILE,
            remedy=error.remedy,
        ) from error


def _check_expected(names: CertificateNames, expected: ExpectedName | None) -> None:
    match expected:
        case None:
            return
        case SpiffeId():
            matches = names.spiffe_id == expected
        case DnsName():
            matches = expected in names.dns_names
        case _:
            matches = expected in names.ip_addresses
    if not matches:
        present = [*names.uris, *map(str, names.dns_names), *map(str, names.ip_addresses)]
        raise VerificationError(
            f"certificate is for {quote_untrusted(', '.join(present))}, not for {expected}",
            fault=Fault.NAME_MISMATCH,
        )


def _lifetime(certificate: x509.Certificate) -> timedelta:
    return certificate.not_valid_after_utc - certificate.not_valid_before_utc
