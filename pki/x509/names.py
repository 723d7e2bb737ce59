"""Read the names in a certificate, and keep them apart by type.

Libraries mix, cut and guess names (``docs/grpc-facts.md``: a DNS SAN is cut at a NUL, DNS and URI
SANs come in one list, a CN takes the place of a missing SAN). Here, no name is ever used as one of
another type.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509

from pki.errors import CertificateError, NameRefusedError, quote_untrusted
from pki.identity import DnsName, SpiffeId, Subject
from pki.x509.decoding import UNREADABLE, extensions_of

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_VISIBLE = re.compile(r"[!-~]+", re.ASCII)
_SPIFFE_SCHEME = "spiffe:"
# The identifier of ECDSA with SHA-256, in DER.
_ANY_ALGORITHM = bytes.fromhex("300a06082a8648ce3d040302")


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """All names of a leaf by type, in the order of the certificate."""

    subject: Subject
    uris: tuple[str, ...]
    dns_names: tuple[DnsName, ...]
    ip_addresses: tuple[IpAddress, ...]

    @property
    def spiffe_id(self) -> SpiffeId | None:
        """The SPIFFE ID, if it is the only URI SAN."""
        if len(self.uris) == 1 and self.uris[0].startswith(_SPIFFE_SCHEME):
            return _spiffe_id(self.uris[0])
        return None


# The same names are asked for again and again, and are values.
@lru_cache(maxsize=1024)
def _spiffe_id(uri: str) -> SpiffeId:
    return SpiffeId.parse(uri)


@lru_cache(maxsize=1024)
def canonical_name(name: x509.Name) -> bytes:
    """Return a distinguished name in a form that is equal for equal names.

    RFC 5280 section 7.1: the type of a string does not count, nor do the case of ASCII letters and
    the number of spaces. OpenSSL and BoringSSL compare so too; Go compares bytes.
    """
    return repr(
        [
            sorted((item.oid.dotted_string, _canonical_value(item)) for item in rdn)
            for rdn in name.rdns
        ]
    ).encode()


def decode_name(der: bytes) -> x509.Name:
    """Decode a distinguished name that comes alone, as in a TLS server's request for a certificate.

    The library decodes names only within larger objects, so the name is put into the smallest one:
    a revocation list without a signature, which is then read and verified by nobody.

    Raises:
        ValueError: if the bytes are no name.
    """
    listed = _der(0x30, _ANY_ALGORITHM + der + _der(0x17, b"700101000000Z"))
    whole = _der(0x30, listed + _ANY_ALGORITHM + _der(0x03, b"\0"))
    return x509.load_der_x509_crl(whole).issuer


def _der(tag: int, content: bytes) -> bytes:
    """Encode a value of ASN.1 with its tag and length."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    encoded = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(encoded))) + encoded + content


def _canonical_value(attribute: x509.NameAttribute[str | bytes]) -> bytes:
    value = attribute.value
    if isinstance(value, bytes):
        return value
    # Of bytes, the two methods know only ASCII, as in OpenSSL.
    return b" ".join(value.encode().split()).lower()


def read_names(certificate: x509.Certificate | x509.CertificateSigningRequest) -> CertificateNames:
    """Read subject and subject alternative names of a certificate or request.

    Raises:
        CertificateError: if a name is malformed, is a wildcard, or is of a type that no profile
            allows (email, directory name, other name, registered ID).
    """
    uris: list[str] = []
    dns_names: list[DnsName] = []
    addresses: list[IpAddress] = []
    for entry in _alternative_names(certificate):
        match entry:
            case x509.UniformResourceIdentifier():
                uris.append(_check_uri(entry.value))
            case x509.DNSName():
                dns_names.append(_dns_name(entry.value))
            case x509.IPAddress() if isinstance(
                entry.value, ipaddress.IPv4Address | ipaddress.IPv6Address
            ):
                addresses.append(entry.value)
            case _:
                raise CertificateError(
                    f"subject alternative name of type {type(entry).__name__} is not allowed",
                    remedy="Use only URI, DNS and IP names",
                )
    return CertificateNames(
        _subject_of(certificate), tuple(uris), tuple(dns_names), tuple(addresses)
    )


def read_subject(name: x509.Name) -> Subject:
    """Read a distinguished name, refusing control and other unprintable characters.

    Raises:
        CertificateError: if a value is empty or not printable.
    """
    try:
        subject = Subject.of_name(name)
    except NameRefusedError as error:
        raise CertificateError(error.message) from None
    for rdn in subject.rdns:
        for _, value in rdn:
            if not value or not value.isprintable():
                raise CertificateError(
                    "subject holds an empty value or unprintable characters: "
                    f"{quote_untrusted(value)}"
                )
    return subject


def _subject_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> Subject:
    try:
        name = certificate.subject
    except UNREADABLE as error:
        raise CertificateError(f"subject can't be read: {quote_untrusted(error)}") from None
    return read_subject(name)


def _alternative_names(
    certificate: x509.Certificate | x509.CertificateSigningRequest,
) -> list[x509.GeneralName]:
    try:
        extension = extensions_of(certificate).get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return list(extension.value)


def _check_uri(value: str) -> str:
    if not _VISIBLE.fullmatch(value):
        raise CertificateError(
            f"URI name {quote_untrusted(value)} is empty or holds unprintable characters"
        )
    if value.lower().startswith(_SPIFFE_SCHEME):
        try:
            _spiffe_id(value)
        except NameRefusedError as error:
            raise CertificateError(error.message, remedy=error.remedy) from None
    return value


def _dns_name(value: str) -> DnsName:
    try:
        return DnsName.parse(value)
    except NameRefusedError as error:
        raise CertificateError(error.message, remedy=error.remedy) from None
