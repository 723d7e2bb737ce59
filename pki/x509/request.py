"""Read certificate signing requests: proof of possession, and what a request may ask for.

The profile decides what a certificate holds, never the request. A request for anything else is
refused instead of silently reduced, because its sender expects what it asks for.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.errors import CertificateError, quote_untrusted
from pki.keys import IdentifiedKey, PublicKey, check_leaf_key
from pki.pem import read_blocks
from pki.x509.decoding import UNREADABLE
from pki.x509.names import CertificateNames, read_names
from pki.x509.profiles import rules

MAX_REQUEST_BYTES = 64 * 1024
MAX_REQUEST_NAMES = 64
_LABELS = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
_KEY_USAGES = frozenset({"digital_signature", "key_encipherment", "key_agreement"})
_USAGES = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})
_EXTENSION_REQUEST = x509.ObjectIdentifier("1.2.840.113549.1.9.14")


@dataclass(frozen=True, slots=True)
class Request:
    """A request with a valid signature, which proves that its sender has the private key."""

    key: IdentifiedKey
    names: CertificateNames

    @property
    def public_key(self) -> PublicKey:
        """The public key."""
        return self.key.public_key


def read_request(data: bytes) -> Request:
    """Read exactly one request, PEM or DER, and check all of it.

    Args:
        data: at most 64 KiB.

    Raises:
        InputError: if it is malformed, not signed with its own key, or asks for something that no
            leaf may have.
    """
    what = "certificate request"
    if len(data) > MAX_REQUEST_BYTES:
        raise CertificateError(f"{what} of {len(data)} bytes; {MAX_REQUEST_BYTES} is the most")
    der = data
    if data[:1] != b"\x30":
        blocks = read_blocks(data, what=what, max_bytes=MAX_REQUEST_BYTES)
        if len(blocks) != 1 or blocks[0].label not in _LABELS:
            raise CertificateError(
                f"{what} file holds {len(blocks)} PEM blocks; exactly one CERTIFICATE "
                "REQUEST is expected"
            )
        der = blocks[0].der
    try:
        request = x509.load_der_x509_csr(der)
        extensions = list(request.extensions)
        attributes = list(request.attributes)
        # Before the signature, because a key of extreme size would make its check slow.
        key = check_leaf_key(request.public_key())
        rules.check_signature_algorithm(request, what)
        is_signed = request.is_signature_valid
    except UNREADABLE as error:
        raise CertificateError(f"{what} can't be decoded: {quote_untrusted(error)}") from None
    if not is_signed:
        raise CertificateError(
            f"{what} is not signed by the key that it holds: no proof of possession",
            remedy="Make it with the private key of that public key",
        )
    for attribute in attributes:
        if attribute.oid != _EXTENSION_REQUEST:
            raise CertificateError(
                f"{what} holds the attribute {attribute.oid.dotted_string}; only the request "
                "for extensions is allowed"
            )
    if len(attributes) > 1:
        raise CertificateError(
            f"{what} asks for extensions {len(attributes)} times, and only the first would be read"
        )
    for extension in extensions:
        _check_extension(extension)
    names = read_names(request)
    if len(names.uris) + len(names.dns_names) + len(names.ip_addresses) > MAX_REQUEST_NAMES:
        raise CertificateError(f"{what} asks for more than {MAX_REQUEST_NAMES} names")
    if len(names.uris) > 1:
        raise CertificateError(
            f"{what} asks for {len(names.uris)} URI names; only one, a SPIFFE ID, is allowed"
        )
    if names.uris and names.spiffe_id is None:
        raise CertificateError(
            f"{what} asks for the URI name {quote_untrusted(names.uris[0])}, which is no SPIFFE ID"
        )
    names.subject.to_name()  # a subject that no certificate may hold is refused here
    return Request(IdentifiedKey.of(key), names)


def _check_extension(extension: x509.Extension[x509.ExtensionType]) -> None:
    match extension.value:
        case x509.SubjectAlternativeName() | x509.SubjectKeyIdentifier():
            return
        case x509.BasicConstraints(ca=False):
            return
        case x509.KeyUsage() as usage if _key_usages(usage) <= _KEY_USAGES:
            return
        case x509.ExtendedKeyUsage() as usages if set(usages) <= _USAGES:
            return
    raise CertificateError(
        f"certificate request asks for {quote_untrusted(extension.oid._name)} in a form "
        "that no leaf may have",
        remedy="Ask for names only; the profile decides the rest",
    )


def _key_usages(usage: x509.KeyUsage) -> set[str]:
    named = {
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
    }
    # Without key agreement, these two have no meaning, and reading them raises an error.
    if usage.key_agreement:
        named |= {"encipher_only", "decipher_only"}
    return {name for name in named if getattr(usage, name)}
