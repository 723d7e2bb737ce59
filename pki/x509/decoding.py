"""What bytes that make no sense raise, turned into one typed error.

The library decodes lazily: a certificate can be loaded whose extensions, key or times can't be
read, and the error comes when somebody looks. Each such look goes through here or catches the same
errors, so that no peer can raise anything but a typed refusal.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from OpenSSL import crypto

from pki.errors import CertificateError, KeyRefusedError, quote_untrusted
from pki.keys import PublicKey, check_ca_key

Signed = x509.Certificate | x509.CertificateSigningRequest | x509.CertificateRevocationList

UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def extensions_of(signed: Signed | x509.RevokedCertificate) -> x509.Extensions:
    """Return the extensions.

    Raises:
        CertificateError: if one of them can't be decoded, or stands there twice.
    """
    try:
        return signed.extensions
    except UNREADABLE as error:
        raise CertificateError(f"extensions can't be read: {quote_untrusted(error)}") from None


def check_openssl_reads(
    trusted: x509.Certificate | x509.CertificateRevocationList, what: str
) -> None:
    """Check, where a root or list is taken in, that OpenSSL's decoder can read it too.

    The two decoders differ, and a store with one unreadable object in it would refuse every chain.

    Raises:
        CertificateError: if it can't.
    """
    try:
        if isinstance(trusted, x509.Certificate):
            crypto.X509.from_cryptography(trusted)
        else:
            crypto.X509Store().add_crl(trusted)
    except crypto.Error as error:
        raise CertificateError(
            f"{what} can't be read by OpenSSL: {quote_untrusted(error)}"
        ) from None


def public_key_of(certificate: x509.Certificate) -> PublicKey:
    """Return the public key, of a kind and strength that handfast takes.

    Raises:
        CertificateError: if it can't be decoded or is not taken.
    """
    try:
        return check_ca_key(certificate.public_key())
    except KeyRefusedError as error:
        raise CertificateError(f"certificate's key: {error.message}") from None
    except UNREADABLE as error:
        raise CertificateError(
            f"certificate's key can't be read: {quote_untrusted(error)}"
        ) from None
