"""Build certificates: every certificate that handfast makes is built here."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519

from pki.errors import CertificateError
from pki.keys import PrivateKey, PublicKey

_SERIAL_BITS = 152  # more than the required 128 random bits, and well within 20 octets


@dataclass(frozen=True, slots=True)
class Validity:
    """The validity of a certificate: both ends included, in whole seconds UTC."""

    not_before: datetime
    not_after: datetime

    def __post_init__(self) -> None:
        if self.not_after < self.not_before:
            raise CertificateError(
                f"certificate would end at {self.not_after}, before it begins at {self.not_before}"
            )


def random_serial() -> int:
    """Return a serial number with 152 random bits; never zero."""
    return secrets.randbits(_SERIAL_BITS) | (1 << _SERIAL_BITS)


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """Return the hash for signatures with a key; None for Ed25519."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    return hashes.SHA384() if key.key_size == 384 else hashes.SHA256()


def verification_hash(key: PublicKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """Return the hash of signatures that :func:`signature_hash` chose for the private key."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return None
    return hashes.SHA384() if key.key_size == 384 else hashes.SHA256()


@lru_cache
def key_usage(*, ca: bool) -> x509.KeyUsage:
    """Return the key usage of a CA (to sign certificates and CRLs) or of a leaf (signatures)."""
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def build_certificate(
    *,
    subject: x509.Name,
    public_key: PublicKey,
    issuer: x509.Certificate | None,
    issuer_key: PrivateKey,
    validity: Validity,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    serial: int | None = None,
    subject_key: x509.SubjectKeyIdentifier | None = None,
) -> x509.Certificate:
    """Build and sign a certificate: the common fields and the extensions of its profile.

    Args:
        subject: the subject's name.
        public_key: the subject's key.
        issuer: the issuer's certificate; None signs the certificate with its own key.
        issuer_key: the key that signs.
        validity: its validity.
        extensions: (value, critical), without the key identifiers, which are added here.
        serial: the serial number; None takes a random one.
        subject_key: the identifier of the subject's key, if it was computed already.
    """
    subject_key = subject_key or x509.SubjectKeyIdentifier.from_public_key(public_key)
    values = [*extensions, (subject_key, False)]
    if issuer is not None:
        values.append((authority_key_identifier(issuer), False))
    # Passed all at once, because each of the builder's methods copies all that was added before.
    builder = x509.CertificateBuilder(
        issuer_name=_subject_of(issuer) if issuer else subject,
        subject_name=subject,
        public_key=public_key,
        serial_number=serial if serial is not None else random_serial(),
        not_valid_before=validity.not_before.astimezone(UTC).replace(tzinfo=None),
        not_valid_after=validity.not_after.astimezone(UTC).replace(tzinfo=None),
        extensions=[x509.Extension(value.oid, critical, value) for value, critical in values],
    )
    return builder.sign(issuer_key, signature_hash(issuer_key))


# A CA signs many with one issuer, whose name the library decodes anew each time.
@lru_cache(maxsize=64)
def _subject_of(issuer: x509.Certificate) -> x509.Name:
    return issuer.subject


@lru_cache(maxsize=64)
def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the extension that names the issuer's key as the issuer's own certificate does."""
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)
