"""Revocation lists (RFC 5280 section 5): built, checked, and remembered so that none goes back.

The rules:

1. A list speaks for one issuer, known by its name and its key identifier. Revocation is by issuer
   and serial number.
2. A list has a number. For each issuer the highest number seen counts; a lower one is refused, and
   so is another list under the same number. Lists that nobody brings any more are remembered for as
   long as they can be read back: of many, those that ended first are forgotten.
3. A list past its ``nextUpdate`` is stale: the receiver can't tell, and refuses (unless the policy
   sets a grace).
4. Indirect, partial and delta lists are refused: they revoke less than they seem to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from pki.errors import CertificateError
from pki.keys import PrivateKey
from pki.x509.decoding import UNREADABLE, check_openssl_reads, extensions_of, public_key_of
from pki.x509.profiles import rules
from pki.x509.profiles.builder import authority_key_identifier, signature_hash
from pki.x509.readers import MAX_CRLS, MAX_CRLS_BYTES, read_crls

_OTHER_ISSUER = CRLEntryExtensionOID.CERTIFICATE_ISSUER
# Refused even where their writer forgot to mark them as critical.
_PARTIAL = frozenset({ExtensionOID.DELTA_CRL_INDICATOR, ExtensionOID.ISSUING_DISTRIBUTION_POINT})
MAX_NUMBER_BITS = 159  # RFC 5280 §5.2.3: 20 octets


@dataclass(frozen=True, slots=True)
class IssuerId:
    """Who issued: the issuer's name in DER and the identifier of its key."""

    name: bytes
    key_id: bytes

    @classmethod
    def of(cls, signed: x509.Certificate | x509.CertificateRevocationList) -> IssuerId:
        """Return who issued a certificate or a list.

        An object that names no key has an empty identifier; it meets only its own like.
        """
        found = rules.find(signed, x509.AuthorityKeyIdentifier)
        key_id = found.value.key_identifier if found else None
        return cls(signed.issuer.public_bytes(), key_id or b"")

    @classmethod
    def named_by(cls, issuer: x509.Certificate) -> IssuerId:
        """Return what the certificates and lists that a CA issued name it by."""
        found = rules.find(issuer, x509.SubjectKeyIdentifier)
        return cls(issuer.subject.public_bytes(), found.value.digest if found else b"")


@dataclass(frozen=True, slots=True)
class RevokedEntry:
    """One line of a list that is to be built."""

    serial: int
    revoked_at: datetime
    reason: x509.ReasonFlags = x509.ReasonFlags.unspecified

    def to_revoked(self) -> x509.RevokedCertificate:
        """Return the entry as the list holds it."""
        builder = (
            x509.RevokedCertificateBuilder()
            .serial_number(self.serial)
            .revocation_date(self.revoked_at)
        )
        # §5.3.1: the reason "unspecified" is left out.
        if self.reason is not x509.ReasonFlags.unspecified:
            builder = builder.add_extension(x509.CRLReason(self.reason), critical=False)
        return builder.build()


@dataclass(frozen=True, slots=True, eq=False)
class Crl:
    """One issuer's list, checked for form; its signature is checked where a chain is verified."""

    issuer: IssuerId
    number: int
    this_update: datetime
    next_update: datetime
    revoked: frozenset[int]
    crl: x509.CertificateRevocationList

    @classmethod
    def of(cls, crl: x509.CertificateRevocationList) -> Crl:
        """Check a list's form.

        Raises:
            CertificateError: if it has no number, no end, or is not a full list of its own issuer.
        """
        rules.check_signature_algorithm(crl, "revocation list")
        for extension in extensions_of(crl):
            if extension.critical:
                raise CertificateError(
                    f"revocation list marks {extension.oid.dotted_string} as critical: it is "
                    "indirect, partial, a delta, or beyond what is understood here (section 5.2)"
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
            # It would meet no certificate, and what it revokes would go unseen.
            raise CertificateError(
                "revocation list does not name its issuer's key (section 5.2.1)",
                remedy="With openssl ca, set crl_extensions with authorityKeyIdentifier=keyid",
            )
        serials = _serials(crl)
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
        """Build and sign an issuer's list, and check it."""
        # Given whole: add_revoked_certificate copies all entries for each that it adds.
        builder = (
            x509.CertificateRevocationListBuilder(
                revoked_certificates=[entry.to_revoked() for entry in entries]
            )
            .issuer_name(issuer.subject)
            .last_update(this_update)
            .next_update(next_update)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(authority_key_identifier(issuer), critical=False)
        )
        return cls.of(builder.sign(issuer_key, signature_hash(issuer_key)))

    def is_signed_by(self, issuer: x509.Certificate) -> bool:
        """Return whether the list bears the signature of a CA's key."""
        try:
            return self.crl.is_signature_valid(public_key_of(issuer))
        except (CertificateError, *UNREADABLE):
            return False

    @property
    def der(self) -> bytes:
        """The list itself."""
        return self.crl.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True, slots=True)
class CrlSet:
    """The lists that count, one for each issuer."""

    crls: Mapping[IssuerId, Crl]

    @classmethod
    def none(cls) -> CrlSet:
        """No list at all."""
        return cls(MappingProxyType({}))

    @classmethod
    def of(cls, crls: Iterable[Crl]) -> CrlSet:
        """Gather lists.

        Raises:
            CertificateError: for two lists of one issuer: which counts would be left to chance.
        """
        gathered: dict[IssuerId, Crl] = {}
        for item in crls:
            if item.issuer in gathered:
                raise CertificateError("two revocation lists of one issuer stand side by side")
            gathered[item.issuer] = item
        return cls(MappingProxyType(gathered))

    @classmethod
    def read(cls, data: bytes) -> CrlSet:
        """Read lists from PEM (one or more) or DER (one).

        Raises:
            InputError: if there is anything else in it.
        """
        return _read(bytes(data))

    def followed_by(
        self, newer: CrlSet, *, issuers: Iterable[x509.Certificate] = ()
    ) -> tuple[CrlSet, tuple[str, ...]]:
        """Take in a newer set, never going back.

        Args:
            newer: what was just read.
            issuers: the CAs at hand. A list that bears the name and the key's identifier of one of
                them must bear its signature too, or a forged number would shut out the true ones.

        Returns:
            The lists that count now, and a line for each list that was refused: a lower number than
            one seen before, another list under the same number, or a wrong signature.
        """
        at_hand = {IssuerId.named_by(issuer): issuer for issuer in issuers}
        merged = dict(self.crls)
        refused: list[str] = []
        for issuer, item in newer.crls.items():
            old = merged.get(issuer)
            if issuer in at_hand and not item.is_signed_by(at_hand[issuer]):
                refused.append(
                    f"revocation list number {item.number} is not signed by the issuer it names"
                )
            elif old is None or item.number > old.number:
                merged[issuer] = item
            elif item.number < old.number:
                refused.append(
                    f"revocation list number {item.number} is older than {old.number}, "
                    "which was seen before"
                )
            elif item is not old and item.der != old.der:
                refused.append(
                    f"another revocation list bears the number {old.number}, seen before"
                )
        _forget_what_ended_first(merged, newer.crls)
        return CrlSet(MappingProxyType(merged)), tuple(refused)

    def of_issuer(self, certificate: x509.Certificate) -> Crl | None:
        """Return the list that speaks for a certificate."""
        return self.crls.get(IssuerId.of(certificate))


# The same bytes are read every few seconds, and a list of 100,000 entries takes a second each time.
@lru_cache(maxsize=4)
def _read(data: bytes) -> CrlSet:
    return CrlSet.of(Crl.of(crl) for crl in read_crls(data))


def _forget_what_ended_first(crls: dict[IssuerId, Crl], brought: Mapping[IssuerId, Crl]) -> None:
    """Keep what is remembered within what can be read back; what was just brought stays."""
    left = sorted(
        (issuer for issuer in crls if issuer not in brought),
        key=lambda issuer: crls[issuer].next_update,
    )
    size = sum(_pem_size(item) for item in crls.values()) if left else 0
    for issuer in left:
        if len(crls) <= MAX_CRLS and size <= MAX_CRLS_BYTES:
            return
        size -= _pem_size(crls.pop(issuer))


def _pem_size(item: Crl) -> int:
    # Base64 in lines of 64 characters, between two lines of words.
    return len(item.der) * 4 // 3 * 65 // 64 + 64


def _serials(crl: x509.CertificateRevocationList) -> frozenset[int]:
    serials: set[int] = set()
    for entry in crl:
        for extension in extensions_of(entry):
            if extension.critical or extension.oid == _OTHER_ISSUER:
                raise CertificateError("revocation list has entries of other issuers")
        serials.add(entry.serial_number)
    return frozenset(serials)
