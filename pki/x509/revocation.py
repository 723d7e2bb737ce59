"""Revocation lists (RFC 5280 section 5): build and check them, and never go back to an older one.

The rules:

1. A CRL belongs to one issuer, identified by its name and key identifier. A certificate is revoked
   by its issuer and serial number.
2. A CRL has a number. For each issuer, the CRL with the highest number that was accepted is in
   force; a lower number is refused, and so is another CRL with the same number. CRLs that
   the source does not deliver any more are kept; if they are too many to be read back from disk,
   those with the earliest ``nextUpdate`` are dropped.
3. A CRL past its ``nextUpdate`` is stale: whether a certificate is revoked is unknown, so it is
   refused, unless the policy sets a grace.
4. Indirect, partial and delta CRLs are refused: they revoke less than they seem to.
5. The CA may announce a revocation on a connection of its own before the CRL is signed. It counts
   like an entry of the CRL, and is kept until one holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from pki.errors import CertificateError
from pki.keys import PrivateKey
from pki.x509.decoding import UNREADABLE, check_openssl_reads, extensions_of, public_key_of
from pki.x509.names import canonical_name
from pki.x509.profiles import rules
from pki.x509.profiles.builder import authority_key_identifier, signature_hash
from pki.x509.readers import MAX_CRLS, MAX_CRLS_BYTES, read_crls

_OTHER_ISSUER = CRLEntryExtensionOID.CERTIFICATE_ISSUER
# Refused even if they are not marked as critical.
_PARTIAL = frozenset({ExtensionOID.DELTA_CRL_INDICATOR, ExtensionOID.ISSUING_DISTRIBUTION_POINT})
MAX_NUMBER_BITS = 159  # RFC 5280 §5.2.3: 20 octets


Announced = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class IssuerId:
    """Identifies an issuer: its name, in canonical form, and the identifier of its key."""

    name: bytes
    key_id: bytes

    @classmethod
    def of(cls, signed: x509.Certificate | x509.CertificateRevocationList) -> IssuerId:
        """Return the issuer of a certificate or CRL.

        Without an authority key identifier, the key's identifier is empty, and equals only another
        empty one.
        """
        extension = rules.find(signed, x509.AuthorityKeyIdentifier)
        key_id = extension.value.key_identifier if extension else None
        return cls(canonical_name(signed.issuer), key_id or b"")

    @classmethod
    def of_ca(cls, issuer: x509.Certificate) -> IssuerId:
        """Return a CA's own id, as in the certificates and CRLs that it issues."""
        extension = rules.find(issuer, x509.SubjectKeyIdentifier)
        return cls(canonical_name(issuer.subject), extension.value.digest if extension else b"")


@dataclass(frozen=True, slots=True)
class RevokedEntry:
    """An entry of a CRL."""

    serial: int
    revoked_at: datetime
    reason: x509.ReasonFlags = x509.ReasonFlags.unspecified

    def to_revoked(self) -> x509.RevokedCertificate:
        """Return the entry in the form that the CRL holds."""
        # Passed all at once, because each of the builder's methods copies what was set before.
        return x509.RevokedCertificateBuilder(
            self.serial,
            self.revoked_at.astimezone(UTC).replace(tzinfo=None),
            _entry_extensions(self.reason),
        ).build()


@lru_cache
def _entry_extensions(reason: x509.ReasonFlags) -> list[x509.Extension[x509.ExtensionType]]:
    # §5.3.1: the reason "unspecified" is left out.
    if reason is x509.ReasonFlags.unspecified:
        return []
    value = x509.CRLReason(reason)
    return [x509.Extension(value.oid, False, value)]


@dataclass(frozen=True, slots=True, eq=False)
class Crl:
    """One issuer's CRL, with a checked form. :class:`ChainVerifier` checks its signature."""

    issuer: IssuerId
    number: int
    this_update: datetime
    next_update: datetime
    revoked: frozenset[int]
    crl: x509.CertificateRevocationList

    @classmethod
    def of(cls, crl: x509.CertificateRevocationList) -> Crl:
        """Check the form of a CRL.

        Raises:
            CertificateError: if it has no number, no ``nextUpdate``, or is not a full list of its
                own issuer.
        """
        return cls._of(crl, _serials)

    @classmethod
    def _of(
        cls,
        crl: x509.CertificateRevocationList,
        serials_of: Callable[[x509.CertificateRevocationList], frozenset[int]],
    ) -> Crl:
        """Check the form of a CRL without its entries, from which ``serials_of`` gathers."""
        rules.check_signature_algorithm(crl, "revocation list")
        for extension in extensions_of(crl):
            if extension.critical:
                raise CertificateError(
                    f"revocation list marks {extension.oid.dotted_string} as critical: it is "
                    "indirect, partial, a delta, or of an unknown kind (section 5.2)"
                )
            if extension.oid in _PARTIAL:
                raise CertificateError(
                    "revocation list is indirect, partial or a delta, not a full list of its issuer"
                )
        number = rules.find(crl, x509.CRLNumber)
        if number is None or not 0 <= number.value.crl_number < 1 << MAX_NUMBER_BITS:
            raise CertificateError("revocation list has no number within 20 octets (section 5.2.3)")
        if crl.next_update_utc is None:
            raise CertificateError("revocation list has no next update (section 5.1.2.5)")
        issuer = IssuerId.of(crl)
        if not issuer.key_id:
            # It would match no certificate, so its revocations would have no effect.
            raise CertificateError(
                "revocation list does not name its issuer's key (section 5.2.1)",
                remedy="With openssl ca, set crl_extensions with authorityKeyIdentifier=keyid",
            )
        serials = serials_of(crl)
        check_openssl_reads(crl, "revocation list")
        return cls(
            issuer,
            number.value.crl_number,
            crl.last_update_utc,
            crl.next_update_utc,
            serials,
            crl,
        )

    @classmethod
    def build(
        cls,
        entries: Iterable[RevokedEntry],
        *,
        issuer: x509.Certificate,
        issuer_key: PrivateKey,
        number: int,
        this_update: datetime,
        next_update: datetime,
    ) -> Crl:
        """Build and sign an issuer's CRL, and check it.

        Args:
            entries: in their order; of two with one serial number the first counts, because
                receivers may look at either.
            issuer: the issuer's certificate.
            issuer_key: its key.
            number: of the CRL.
            this_update: when it begins.
            next_update: when there will be another one at the latest.
        """
        chosen: dict[int, RevokedEntry] = {}
        for entry in entries:
            chosen.setdefault(entry.serial, entry)
        # Passed all at once, because add_revoked_certificate copies all entries each time.
        builder = (
            x509.CertificateRevocationListBuilder(
                revoked_certificates=[entry.to_revoked() for entry in chosen.values()]
            )
            .issuer_name(issuer.subject)
            .last_update(this_update)
            .next_update(next_update)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(authority_key_identifier(issuer), critical=False)
        )
        signed = builder.sign(issuer_key, signature_hash(issuer_key))
        # What was just encoded is not decoded entry by entry: of 100,000, that takes a second.
        return cls._of(signed, lambda _: frozenset(chosen))

    def is_signed_by(self, issuer: x509.Certificate) -> bool:
        """Return whether a CA's key signed the CRL."""
        try:
            return self.crl.is_signature_valid(public_key_of(issuer))
        except (CertificateError, *UNREADABLE):
            return False

    @property
    def der(self) -> bytes:
        """The CRL in DER."""
        return self.crl.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True, slots=True)
class CrlSet:
    """The CRLs in force, one for each issuer.

    Args:
        crls: by issuer.
        announced: revocations that the CA announced and that are on no CRL yet: the issuer's key
            identifier and the serial number of each.
    """

    crls: Mapping[IssuerId, Crl]
    announced: frozenset[Announced] = frozenset()

    @classmethod
    def none(cls) -> CrlSet:
        """Return the set without any CRL."""
        return cls(MappingProxyType({}))

    @classmethod
    def of(cls, crls: Iterable[Crl]) -> CrlSet:
        """Make a set of CRLs.

        Raises:
            CertificateError: if two CRLs have the same issuer, because either might be used.
        """
        gathered: dict[IssuerId, Crl] = {}
        for item in crls:
            if item.issuer in gathered:
                raise CertificateError("there are two revocation lists of one issuer")
            gathered[item.issuer] = item
        return cls(MappingProxyType(gathered))

    @classmethod
    def read(cls, data: bytes) -> CrlSet:
        """Read CRLs from PEM (one or more) or DER (one).

        Raises:
            InputError: if the data holds anything else.
        """
        return _read(bytes(data))

    def merge_newer(
        self, newer: CrlSet, *, issuers: Iterable[x509.Certificate] = ()
    ) -> tuple[CrlSet, tuple[str, ...]]:
        """Merge a newer set into this one, without going back to a lower number.

        Args:
            newer: the CRLs that were just read.
            issuers: known CAs. A CRL with the name and key identifier of one of them must have its
                signature too. Otherwise, a forged CRL with a high number would keep out all others.

        Returns:
            The CRLs in force now, and a message for each CRL that was refused: for a lower number
            than one accepted before, another CRL with the same number, or a wrong signature.
        """
        known = {IssuerId.of_ca(issuer): issuer for issuer in issuers}
        merged = dict(self.crls)
        refused: list[str] = []
        for issuer, item in newer.crls.items():
            old = merged.get(issuer)
            if issuer in known and not item.is_signed_by(known[issuer]):
                refused.append(
                    f"revocation list {item.number} is not signed by the issuer it names"
                )
            elif old is None or item.number > old.number:
                merged[issuer] = item
            elif item.number < old.number:
                refused.append(
                    f"revocation list {item.number} is older than list {old.number}, "
                    "which was accepted before"
                )
            elif item is not old and item.der != old.der:
                refused.append(
                    f"another revocation list has the number {old.number}, "
                    "which was accepted before"
                )
        _forget_oldest(merged, newer.crls)
        announced = _not_listed(self.announced | newer.announced, merged.values())
        return CrlSet(MappingProxyType(merged), announced), tuple(refused)

    def announce(self, revocations: Iterable[Announced]) -> CrlSet:
        """Return this set with revocations that the CA announced; those on a CRL are left out."""
        announced = _not_listed(self.announced.union(revocations), self.crls.values())
        return CrlSet(self.crls, announced)

    def crl_for(self, certificate: x509.Certificate) -> Crl | None:
        """Return the CRL of a certificate's issuer; None if there is none."""
        return self.crls.get(IssuerId.of(certificate))


def _not_listed(announced: frozenset[Announced], crls: Iterable[Crl]) -> frozenset[Announced]:
    """Return the announced revocations that are on no CRL."""
    if not announced:
        return announced
    listed: dict[bytes, list[frozenset[int]]] = {}
    for item in crls:
        listed.setdefault(item.issuer.key_id, []).append(item.revoked)
    return frozenset(
        (key_id, serial)
        for key_id, serial in announced
        if not any(serial in revoked for revoked in listed.get(key_id, ()))
    )


# The same bytes are read every few seconds, and a CRL of 100,000 entries takes a second each time.
@lru_cache(maxsize=4)
def _read(data: bytes) -> CrlSet:
    return CrlSet.of(Crl.of(crl) for crl in read_crls(data))


def _forget_oldest(crls: dict[IssuerId, Crl], just_read: Mapping[IssuerId, Crl]) -> None:
    """Drop CRLs that ended first, until the rest can be read back; never drop those just read."""
    candidates = sorted(
        (issuer for issuer in crls if issuer not in just_read),
        key=lambda issuer: crls[issuer].next_update,
    )
    size = sum(_pem_size(item) for item in crls.values()) if candidates else 0
    for issuer in candidates:
        if len(crls) <= MAX_CRLS and size <= MAX_CRLS_BYTES:
            return
        size -= _pem_size(crls.pop(issuer))


def _pem_size(item: Crl) -> int:
    # Base64 in lines of 64 characters, between the two lines of the PEM frame.
    return len(item.der) * 4 // 3 * 65 // 64 + 64


def _serials(crl: x509.CertificateRevocationList) -> frozenset[int]:
    serials: set[int] = set()
    for entry in crl:
        for extension in extensions_of(entry):
            if extension.critical or extension.oid == _OTHER_ISSUER:
                raise CertificateError("revocation list has entries of other issuers")
        serials.add(entry.serial_number)
    return frozenset(serials)
