"""Rules for all certificates that handfast builds or accepts, whatever their profile.

Each function raises :class:`CertificateError`. Section numbers are of RFC 5280 unless another
source is named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pki.errors import CertificateError, KeyRefusedError, quote_untrusted
from pki.keys import PublicKey
from pki.x509.decoding import UNREADABLE, Signed, extensions_of, public_key_of

_MAX_SERIAL_BITS = 159  # §4.1.2.2: 20 octets, and the first bit is the sign
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_ED25519 = x509.SignatureAlgorithmOID.ED25519

Extension = TypeVar("Extension", bound=x509.ExtensionType)


def check_basic_fields(
    certificate: x509.Certificate, check_key: Callable[[object], PublicKey]
) -> None:
    """Check version, serial number, signature algorithm, key and times."""
    if certificate.version is not x509.Version.v3:
        raise CertificateError("certificate is not X.509 version 3")
    serial = certificate.serial_number
    if serial <= 0 or serial.bit_length() > _MAX_SERIAL_BITS:
        raise CertificateError(
            f"serial number of {serial.bit_length()} bits is not positive and within 20 octets "
            "(section 4.1.2.2)"
        )
    check_signature_algorithm(certificate, "certificate")
    try:
        check_key(public_key_of(certificate))
    except KeyRefusedError as error:
        raise CertificateError(f"certificate's key: {error.message}") from None
    if certificate.not_valid_after_utc < certificate.not_valid_before_utc:
        raise CertificateError("certificate ends before it begins (section 4.1.2.5)")
    if not certificate.issuer.rdns:
        raise CertificateError("certificate's issuer name is empty (section 4.1.2.4)")


def check_signature_algorithm(signed: Signed, what: str) -> None:
    """Refuse SHA-1, MD5 and everything else but SHA-2 of at least 256 bits and Ed25519."""
    if signed.signature_algorithm_oid == _ED25519:
        return
    try:
        used = signed.signature_hash_algorithm
    except UNREADABLE:
        used = None
    if not isinstance(used, _HASHES):
        raise CertificateError(
            f"{what} is signed with "
            f"{quote_untrusted(used.name if used else 'an unknown algorithm')}; "
            "SHA-256, SHA-384, SHA-512 and Ed25519 are accepted"
        )


def check_extensions(
    certificate: x509.Certificate,
    *,
    critical: frozenset[x509.ObjectIdentifier],
    never_critical: frozenset[x509.ObjectIdentifier],
    forbidden: frozenset[x509.ObjectIdentifier],
) -> None:
    """Check which extensions a certificate has, and which of them are critical.

    Args:
        certificate: the certificate.
        critical: extensions that may be critical; any other critical extension is refused.
        never_critical: extensions that must not be critical, which has an error of its own.
        forbidden: extensions that it must not have.
    """
    for extension in extensions_of(certificate):
        if extension.oid in forbidden:
            raise CertificateError(
                f"certificate holds the extension {_name_of(extension)}, which its profile forbids"
            )
        if extension.critical and extension.oid in never_critical:
            raise CertificateError(
                f"certificate marks the extension {_name_of(extension)} as critical"
            )
        if extension.critical and extension.oid not in critical:
            raise CertificateError(
                f"certificate holds the unknown critical extension {extension.oid.dotted_string}"
            )


def _name_of(extension: x509.Extension[x509.ExtensionType]) -> str:
    return quote_untrusted(extension.oid._name)


def find(certificate: Signed, kind: type[Extension]) -> x509.Extension[Extension] | None:
    """Return an extension, or None if it is absent."""
    for extension in extensions_of(certificate):
        if extension.oid == kind.oid:
            return cast("x509.Extension[Extension]", extension)
    return None


def need(certificate: x509.Certificate, kind: type[Extension], name: str) -> Extension:
    """Return the value of a required extension."""
    extension = find(certificate, kind)
    if extension is None:
        raise CertificateError(f"certificate has no {name}")
    return extension.value


def check_key_usage(
    certificate: x509.Certificate, *, need_bits: frozenset[str], forbid_bits: frozenset[str]
) -> None:
    """Check that the key usage exists, with all required bits and no forbidden one."""
    usage = find(certificate, x509.KeyUsage)
    if usage is None:
        raise CertificateError("certificate has no key usage")
    for bit in sorted(need_bits):
        if not getattr(usage.value, bit):
            raise CertificateError(f"certificate's key usage lacks {bit}")
    for bit in sorted(forbid_bits):
        if getattr(usage.value, bit):
            raise CertificateError(
                f"certificate's key usage holds {bit}, which its profile forbids"
            )


def check_authority_key(certificate: x509.Certificate) -> None:
    """Check that the certificate names its issuer's key, by the key identifier only."""
    value = need(certificate, x509.AuthorityKeyIdentifier, "authority key identifier")
    if not value.key_identifier:
        raise CertificateError("authority key identifier holds no key identifier (4.2.1.1)")
    if value.authority_cert_issuer or value.authority_cert_serial_number is not None:
        raise CertificateError(
            "authority key identifier names issuer and serial number, and must name only the key"
        )
