"""Read certificates and CRLs strictly: exactly the expected objects and nothing else.

The size and count of every input are checked before any expensive work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki.errors import CertificateError, quote_untrusted
from pki.pem import PemBlock, read_blocks
from pki.x509.decoding import UNREADABLE

MAX_CERTIFICATE_BYTES = 16 * 1024
MAX_CHAIN_LENGTH = 8
MAX_BUNDLE_LENGTH = 256
MAX_BUNDLE_BYTES = 1024 * 1024
MAX_CRLS = 64
# A CRL of 100,000 entries has 3.9 MB in DER.
MAX_CRLS_BYTES = 64 * 1024 * 1024

_Object = TypeVar("_Object", x509.Certificate, x509.CertificateRevocationList)
_CHAIN = "certificate chain"


def read_certificate(data: bytes) -> x509.Certificate:
    """Read exactly one certificate, PEM or DER.

    Raises:
        InputError: if the data holds none, more than one, or anything else.
    """
    if data[:1] == b"\x30":
        return decode_certificate(data, what="certificate")
    certificates = read_certificates(
        data, what="certificate", max_bytes=2 * MAX_CERTIFICATE_BYTES, max_count=1
    )
    return certificates[0]


def read_chain(data: bytes) -> tuple[x509.Certificate, ...]:
    """Read a chain as PEM: the leaf first, then the CAs above it, 1 to 8 certificates.

    Raises:
        InputError: as :func:`read_certificate`.
    """
    leaf, *others = _chain_ders(data, MAX_CHAIN_LENGTH)
    return (decode_certificate(leaf, what=_CHAIN), *map(shared_ca, others))


def read_issuing_cas(data: bytes) -> tuple[x509.Certificate, ...]:
    """Read the CAs above a leaf as PEM, 1 to 7 certificates.

    Raises:
        InputError: as :func:`read_certificate`.
    """
    return tuple(map(shared_ca, _chain_ders(data, MAX_CHAIN_LENGTH - 1)))


@lru_cache(maxsize=256)
def shared_ca(der: bytes) -> x509.Certificate:
    """Return a CA's certificate, decoded once: many leaves have the same.

    Raises:
        CertificateError: as :func:`decode_certificate`.
    """
    return decode_certificate(der, what=_CHAIN)


def _chain_ders(data: bytes, max_count: int) -> list[bytes]:
    blocks = read_blocks(data, what=_CHAIN, max_bytes=2 * MAX_CERTIFICATE_BYTES * MAX_CHAIN_LENGTH)
    return _ders(blocks, label="CERTIFICATE", what=_CHAIN, max_count=max_count)


def read_certificates(
    data: bytes, *, what: str, max_bytes: int, max_count: int
) -> tuple[x509.Certificate, ...]:
    """Read one or more certificates as PEM and nothing else.

    Raises:
        InputError: as :func:`read_certificate`.
    """
    blocks = read_blocks(data, what=what, max_bytes=max_bytes)
    return tuple(
        decode_certificate(der, what=what)
        for der in _ders(blocks, label="CERTIFICATE", what=what, max_count=max_count)
    )


def decode_certificate(der: bytes, *, what: str) -> x509.Certificate:
    """Decode one DER certificate, with nothing after it, and check that all its parts decode.

    Raises:
        CertificateError: if it is too large or not well-formed.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise CertificateError(
            f"{what} holds a certificate of {len(der)} bytes; {MAX_CERTIFICATE_BYTES} is the most"
        )
    return _decode(x509.load_der_x509_certificate, der, what)


def read_crls(data: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """Read CRLs: one or more in PEM, or exactly one in DER.

    Raises:
        InputError: as :func:`read_certificate`.
    """
    what = "revocation lists"
    if len(data) > MAX_CRLS_BYTES:
        raise CertificateError(f"{what} of {len(data)} bytes; {MAX_CRLS_BYTES} is the most")
    if data[:1] == b"\x30":
        return (_decode(x509.load_der_x509_crl, data, what),)
    blocks = read_blocks(data, what=what, max_bytes=MAX_CRLS_BYTES)
    return tuple(
        _decode(x509.load_der_x509_crl, der, what)
        for der in _ders(blocks, label="X509 CRL", what=what, max_count=MAX_CRLS)
    )


def to_pem(objects: Sequence[x509.Certificate | x509.CertificateRevocationList]) -> bytes:
    """Return certificates or CRLs as PEM, one after the other."""
    return b"".join(item.public_bytes(serialization.Encoding.PEM) for item in objects)


def _ders(blocks: Sequence[PemBlock], *, label: str, what: str, max_count: int) -> list[bytes]:
    if not blocks:
        raise CertificateError(f"{what}: the input is empty", remedy=f"Give PEM blocks {label}")
    for block in blocks:
        if block.label != label:
            danger = ": a private key must never be there" if "PRIVATE" in block.label else ""
            raise CertificateError(
                f"{what} holds a PEM block {quote_untrusted(block.label)}; only {label} "
                f"is allowed{danger}"
            )
    if len(blocks) > max_count:
        raise CertificateError(f"{what} holds {len(blocks)} objects; {max_count} is the most")
    return [block.der for block in blocks]


def _decode(load: Callable[[bytes], _Object], der: bytes, what: str) -> _Object:
    try:
        loaded = load(der)
        # The library decodes lazily. Without this, malformed parts would fail later, elsewhere.
        list(loaded.extensions)
        _ = loaded.issuer, loaded.signature_algorithm_oid
        if isinstance(loaded, x509.Certificate):
            _ = loaded.subject, loaded.public_key_algorithm_oid, loaded.serial_number
            _ = loaded.not_valid_before_utc, loaded.not_valid_after_utc
        else:
            _ = loaded.last_update_utc, loaded.next_update_utc
    except UNREADABLE as error:
        raise CertificateError(f"{what} can't be decoded: {quote_untrusted(error)}") from None
    return loaded
