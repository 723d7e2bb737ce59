"""Turn the library's errors on malformed bytes into one typed error.

The library decodes lazily: it loads a certificate whose extensions, key or times are malformed, and
raises an error only when they are read. Each such access goes through here or catches the same
errors, so that a peer can cause nothing but a typed refusal.
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
        CertificateError: if one of them can't be decoded, or occurs twice.
    """
    try:
        return signed.extensions
    except UNREADABLE as error:
        raise CertificateError(f"extensions can't be read: {quote_untrusted(error)}") from None


def check_openssl_reads(
    trusted: x509.Certificate | x509.CertificateRevocationList, what: str
) -> None:
    """Check that OpenSSL's decoder can read a root or CRL too.

    The decoders of cryptography and OpenSSL differ, and a store with one unreadable object would
    refuse every chain.

    Raises:
        CertificateError: if OpenSSL can't read it.
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
    """Return the public key, after a check of its kind and strength.

    Raises:
        CertificateError: if it can't be decoded, or handfast does not accept its kind or strength.
    """
    try:
        return check_ca_key(certificate.public_key())
    except KeyRefusedError as error:
        raise CertificateError(f"certificate's key: {error.message}") from None
    except UNREADABLE as error:
        raise CertificateError(
            f"certificate's key can't be read: {quote_untrusted(error)}"
        ) from None
