"""Handmade certificates and revocation lists without profiles: whatever an attacker could sign."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pki.keys import PrivateKey
from tests.support import Extension

# AlgorithmIdentifier of ECDSA with SHA-256 (RFC 5758 section 3.2).
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def tlv(tag: int, content: bytes) -> bytes:
    """Write one DER value of at most 65,535 bytes."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes(1 if size < 0x100 else 2, "big")
    return bytes([tag, 0x80 + len(length)]) + length + content


def sign_body(body: bytes, key: PrivateKey) -> bytes:
    """Sign the body of a certificate, request or list with a P-256 key; return the DER."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(body, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, body + _ECDSA_SHA256 + tlv(0x03, b"\0" + signature))


def der(signed: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return signed.public_bytes(serialization.Encoding.DER)


def raw_extension(kind: type[x509.ExtensionType], value: bytes) -> x509.UnrecognizedExtension:
    """Return an extension of a known kind with any value."""
    return x509.UnrecognizedExtension(kind.oid, value)


# Subject alternative names with an x400Address, for which cryptography has an error of its own, and
# names that are cut short.
X400_NAMES = raw_extension(x509.SubjectAlternativeName, bytes.fromhex("3004a3023000"))
CUT_NAMES = raw_extension(x509.SubjectAlternativeName, b"\x01\x02\x03")


def certificate(
    subject: x509.Name,
    key: PrivateKey,
    *,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    begin: datetime,
    end: datetime,
    extensions: Iterable[Extension],
) -> x509.Certificate:
    """Return a certificate with any content."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def crl_in_der(
    issuer: x509.Certificate,
    issuer_key: PrivateKey,
    extensions: Iterable[Extension],
    *,
    begin: datetime,
    end: datetime,
    entries: Iterable[tuple[int, Iterable[Extension]]] = (),
) -> x509.CertificateRevocationList:
    """Return a revocation list with any content."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(begin)
        .next_update(end)
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    for serial, additions in entries:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(begin)
        for value, critical in additions:
            entry = entry.add_extension(value, critical)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer_key, hashes.SHA256())
