"""Chain verification of peers and files.

The rules, in the order in which they are applied:

1. The chain is bounded: at most 8 certificates, and 3 CAs between leaf and root.
2. The leaf passes the check of its profile, for the purpose at hand.
3. Only the roots of the trust domain in the leaf's own URI count; for a leaf without one, all do.
4. OpenSSL builds the path (X509_STRICT, no partial chain) at the given time, with the lists of
   every issuer on it. Its answer is the one of record.
5. Each CA and the root on that path pass the check of their profiles, and beside OpenSSL each list
   is checked here: for its issuer's signature, the serial numbers in it, and its time.
6. The expected name, if there is one, stands in the leaf under its own type.
7. A path that was accepted once is accepted again, without being built anew, while its root counts
   and its certificates are valid, if every list on it was accepted by OpenSSL for another leaf of
   the same issuers and all of rule 5 that concerns lists holds.
8. Lists that are withheld (nobody can tell any more whether there are newer ones) speak for nobody.

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
from pki.x509.proof import Link, PathProof, later
from pki.x509.readers import MAX_CHAIN_LENGTH
from pki.x509.revocation import Crl, CrlSet, IssuerId

MAX_INTERMEDIATES = 3
# 24 hours from the moment of issue; notBefore is set back by an hour at most.
SHORT_LIFETIME = timedelta(hours=25)

ExpectedName = SpiffeId | DnsName | IpAddress


class RevocationMode(StrEnum):
    """The user's word on certificates that no list speaks for."""

    REQUIRED = "required"
    """A fresh list of every issuer on the path, or refusal."""
    WHEN_PRESENT = "when-present"
    """The lists that are there count; an issuer without one is believed."""
    SHORT_LIVED = "short-lived"
    """As when-present, for leaves that live at most 24 hours after issue; others need lists."""


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """A chain that was accepted at a time.

    ``path`` runs from the leaf to the root. The answer holds by itself from ``good_from`` until
    just before ``good_until``: the time that its certificates and the lists used have in common.
    """

    path: tuple[x509.Certificate, ...]
    names: CertificateNames
    good_from: datetime
    good_until: datetime
    proof: PathProof

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate that was verified."""
        return self.path[0]


class ChainVerifier:
    """Verifies chains against one set of roots and one set of lists.

    Making one, and the first chain of each issuer, costs as much as reading all lists; it is kept
    until trust or lists change. Safe for use by several threads.

    Args:
        bundle: the roots to believe.
        crls: the revocation lists that count.
        mode: what to do where a list is missing.
        grace: how long past its ``nextUpdate`` a list still counts.
        withheld: why the lists can't be relied on any more; empty while they can.
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
        self.mark = object()
        """Stands for this verifier where keeping what it said must not keep it alive."""
        self.bundle = bundle
        self.crls = crls or CrlSet.none()
        self._mode = mode
        self._grace = max(grace, timedelta(0))
        self.withheld = withheld
        self._builders: dict[tuple[tuple[x509.Certificate, ...], bool], PathBuilder] = {}
        # Which list was found to be signed by which issuer: a long one takes milliseconds.
        self._signed: set[tuple[IssuerId, x509.Certificate]] = set()
        # For which issuers OpenSSL has accepted a path with these lists.
        self._accepted: set[tuple[bool, tuple[x509.Certificate, ...]]] = set()
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
            purpose: the end at which the leaf was presented.
            at: the time, aware; fractions of a second are cut off.
            expected: the name that the leaf must hold, by its type.
            max_intermediates: how many CAs may stand between leaf and root; None takes 3.

        Raises:
            VerificationError: if it is not accepted; ``fault`` is a :class:`~pki.fault.Fault`.
            ValueError: if the time has no zone.
        """
        if at.tzinfo is None:
            raise ValueError("the time of a verification needs a time zone")
        if not chain or len(chain) > MAX_CHAIN_LENGTH:
            raise VerificationError(
                f"chain holds {len(chain)} certificates; 1 to {MAX_CHAIN_LENGTH} are taken",
                fault=Fault.INVALID,
            )
        # In UTC, for pyOpenSSL takes a time's figures and leaves out its zone.
        leaf, at = chain[0], at.astimezone(UTC).replace(microsecond=0)
        try:
            names = profile.check(leaf, purpose)
        except InputError as error:
            raise VerificationError(error.message, fault=Fault.PROFILE) from error
        roots = self._roots_for(names)
        must_know = self._must_know(_lifetime(leaf))
        # OpenSSL knows no grace and no "where present": then it judges the path alone, and the
        # lists are judged by _check_crls.
        with_crls = must_know and not self._any_in_grace(at)
        path = self._builder(roots, with_crls=with_crls).build_path(chain, at)
        _check_authorities(path, max_intermediates)
        proof = PathProof.of(path, names)
        crls_from, crls_until = self._check_crls(proof.links, at, must_know=must_know)
        self._accepted.add((must_know, proof.issuers))
        _check_expected(names, expected)
        return VerifiedChain(
            path, names, max(proof.begin, crls_from), min(proof.end, crls_until), proof
        )

    def verify_again(self, proof: PathProof, at: datetime) -> tuple[datetime, datetime] | None:
        """Verify a path that was accepted before, maybe by other lists, without building it.

        Args:
            proof: what :meth:`verify` gave of it, of this verifier or another with the same mode.
            at: the time, aware; fractions of a second are cut off.

        Returns:
            From when and until just before when the answer holds; None where nothing can be said
            without building the path: then :meth:`verify` has the word.

        Raises:
            VerificationError: if a list revokes a certificate of it, or can't be relied on.
        """
        at = at.astimezone(UTC).replace(microsecond=0)
        domain = proof.trust_domain
        roots = self.bundle.all_roots() if domain is None else self.bundle.roots_of(domain)
        if not proof.begin <= at < proof.end or proof.issuers[-1] not in roots:
            return None
        must_know = self._must_know(proof.lifetime)
        good_from, good_until = self._check_crls(proof.links, at, must_know=must_know)
        if (must_know, proof.issuers) not in self._accepted:
            return None
        return max(proof.begin, good_from), min(proof.end, good_until)

    def _must_know(self, lifetime: timedelta) -> bool:
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
                remedy="Add its root to the trust bundle, if it is to be trusted",
            )
        return roots

    def _any_in_grace(self, at: datetime) -> bool:
        return any(
            item.next_update < at <= later(item.next_update, self._grace)
            for item in self.crls.crls.values()
        )

    def _builder(self, roots: tuple[x509.Certificate, ...], *, with_crls: bool) -> PathBuilder:
        with self._lock:
            if (roots, with_crls) not in self._builders:
                crls = self.crls if with_crls else None
                self._builders[roots, with_crls] = PathBuilder(roots, crls)
            return self._builders[roots, with_crls]

    def _check_crls(
        self, links: tuple[Link, ...], at: datetime, *, must_know: bool
    ) -> tuple[datetime, datetime]:
        """Check each certificate below the root against its issuer's list.

        Gives from when and until when all the lists used count.
        """
        good_from = datetime.min.replace(tzinfo=UTC)
        good_until = datetime.max.replace(tzinfo=UTC)
        if self.withheld and (must_know or self.crls.crls):
            raise VerificationError(self.withheld, fault=Fault.REVOCATION_UNKNOWN)
        for depth, link in enumerate(links):
            issuer = link.issuer
            found = self.crls.crls.get(link.issuer_id)
            if found is None:
                if must_know:
                    raise VerificationError(
                        "no revocation list is at hand of the issuer "
                        + quote_untrusted(issuer.subject.rfc4514_string()),
                        fault=Fault.REVOCATION_UNKNOWN,
                        remedy="Bring its list, or set revocation to when-present or short-lived",
                    )
                continue
            self._check_signature(found, issuer)
            if link.serial in found.revoked:
                raise VerificationError(
                    f"certificate {link.serial:x} was revoked by its issuer",
                    fault=Fault.ISSUER_REVOKED if depth else Fault.REVOKED,
                    remedy="Issue a new one under a new key",
                )
            end = later(found.next_update, self._grace)
            if not found.this_update <= at <= end:
                raise VerificationError(
                    f"revocation list number {found.number} counts from {found.this_update} to "
                    f"{found.next_update}, not at {at}",
                    fault=Fault.REVOCATION_UNKNOWN,
                    remedy="A clock is or was ahead: set it right, then handfast crl"
                    if at < found.this_update
                    else "Bring a fresh list",
                )
            good_from = max(good_from, found.this_update)
            good_until = min(good_until, end)
        return good_from, good_until

    def _check_signature(self, found: Crl, issuer: x509.Certificate) -> None:
        if (found.issuer, issuer) in self._signed:
            return
        usage = rules.find(issuer, x509.KeyUsage)
        if usage is None or not usage.value.crl_sign:
            raise VerificationError(
                "issuer may not sign revocation lists", fault=Fault.REVOCATION_UNKNOWN
            )
        if not found.is_signed_by(issuer):
            raise VerificationError(
                "revocation list is not signed by the issuer that it names",
                fault=Fault.REVOCATION_UNKNOWN,
            )
        self._signed.add((found.issuer, issuer))


def _check_authorities(path: tuple[x509.Certificate, ...], most: int | None) -> None:
    most = MAX_INTERMEDIATES if most is None else most
    # RFC 5280 §6.1.4 (l): a self-issued CA does not count.
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
            f"CA certificate on the path: {error.message}", fault=Fault.PROFILE
        ) from error


def _check_expected(names: CertificateNames, expected: ExpectedName | None) -> None:
    match expected:
        case None:
            return
        case SpiffeId():
            held = names.spiffe_id == expected
        case DnsName():
            held = expected in names.dns_names
        case _:
            held = expected in names.ip_addresses
    if not held:
        present = [*names.uris, *map(str, names.dns_names), *map(str, names.ip_addresses)]
        raise VerificationError(
            f"certificate is for {quote_untrusted(', '.join(present))}, not for {expected}",
            fault=Fault.NAME_MISMATCH,
        )


def _lifetime(certificate: x509.Certificate) -> timedelta:
    return certificate.not_valid_after_utc - certificate.not_valid_before_utc
