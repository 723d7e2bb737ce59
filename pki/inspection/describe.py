"""Bytes in, things out: PEM with anything around it, DER, PKCS#7, PKCS#12."""

from __future__ import annotations

import base64
import binascii
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from pki.errors import CertificateError, quote_untrusted
from pki.inspection.certificates import describe_certificate
from pki.inspection.opening import Kind, Opened, Outcome, open_apart
from pki.inspection.others import (
    describe_crl,
    describe_private_key,
    describe_public_key,
    describe_request,
)
from pki.inspection.report_item import Level, Thing, without_internals
from pki.keys.encoding import MAX_KEY_BYTES
from pki.x509.decoding import UNREADABLE

MAX_BYTES = 64 * 1024 * 1024
_MOST_BLOCKS = 1000
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 #]{1,40})-----")
_FAILS = (*UNREADABLE, UnsupportedAlgorithm)


@dataclass(frozen=True, slots=True)
class _Block:
    label: str
    der: bytes
    encrypted: bool


def describe(
    data: bytes, *, source: str, now: datetime, password: bytes | None = None
) -> tuple[Thing, ...]:
    """Describe all that some bytes hold, in their order.

    Args:
        data: PEM, DER or PKCS#12.
        source: the file's name, for messages.
        now: the time, aware.
        password: for PKCS#12 and encrypted keys.

    Raises:
        CertificateError: if nothing in it can be decoded.
    """
    if not data.strip():
        raise CertificateError(f"{quote_untrusted(source)} holds nothing")
    blocks = _blocks(data, source)
    if blocks:
        things = (_of_block(block, source, now, password) for block in blocks)
        return tuple(thing for found in things for thing in found)
    return _of_der(data, source, now, password)


def _blocks(data: bytes, source: str) -> list[_Block]:
    """Find the PEM blocks; what stands between them is a comment."""
    found: list[_Block] = []
    at = 0
    while match := _BEGIN.search(data, at):
        if len(found) >= _MOST_BLOCKS:
            raise CertificateError(
                f"{quote_untrusted(source)} holds more than {_MOST_BLOCKS} PEM blocks"
            )
        label = match[1].decode()
        end = data.find(b"-----END " + match[1] + b"-----", match.end())
        if end < 0:
            raise CertificateError(
                f"{quote_untrusted(source)}: the PEM block {quote_untrusted(label)} is cut off"
            )
        found.append(_block(label, data[match.end() : end]))
        at = end
    return found


def _block(label: str, body: bytes) -> _Block:
    headers, _, rest = body.partition(b"\n\n") if b":" in body else (b"", b"", body)
    try:
        der = base64.b64decode(b"".join(rest.split()), validate=True)
    except binascii.Error:
        der = b""
    encrypted = b"ENCRYPTED" in headers or label.startswith("ENCRYPTED")
    return _Block(label, der, encrypted)


def _of_block(block: _Block, source: str, now: datetime, password: bytes | None) -> list[Thing]:
    try:
        match block.label:
            case "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE":
                return [describe_certificate(x509.load_der_x509_certificate(block.der), now)]
            case "X509 CRL":
                return [describe_crl(x509.load_der_x509_crl(block.der), now)]
            case "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST":
                return [describe_request(x509.load_der_x509_csr(block.der), block.der)]
            case "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS":
                return [describe_certificate(item, now) for item in _pkcs7(block.der)]
            case "PUBLIC KEY" | "RSA PUBLIC KEY":
                return [describe_public_key(load_der_public_key(block.der))]
            case label if label.endswith("PRIVATE KEY"):
                return [_private_key(block, source, password)]
    except _FAILS as error:
        raise CertificateError(
            f"{quote_untrusted(source)}: the PEM block {quote_untrusted(block.label)} "
            "can't be decoded: "
            f"{without_internals(quote_untrusted(error))}"
        ) from None
    raise CertificateError(
        f"{quote_untrusted(source)}: PEM block {quote_untrusted(block.label)} is of no "
        "kind known here"
    )


def _private_key(block: _Block, source: str, password: bytes | None) -> Thing:
    if block.label == "OPENSSH PRIVATE KEY":
        return _openssh_key(block, source, password)
    if block.encrypted and (password is None or block.label != "ENCRYPTED PRIVATE KEY"):
        return Thing("private key, encrypted")
    found = open_apart(Kind.KEY, block.der, password if block.encrypted else None)
    if found.outcome is Outcome.OPENED:
        return _opened_key(found)
    if found.outcome is Outcome.TOO_LONG:
        return _asks_too_much("private key, encrypted" if block.encrypted else "private key")
    if block.encrypted:
        return _not_opened()
    raise _damaged(source)


def _openssh_key(block: _Block, source: str, password: bytes | None) -> Thing:
    whole = b"-----BEGIN OPENSSH PRIVATE KEY-----\n%b-----END OPENSSH PRIVATE KEY-----\n"
    pem = whole % base64.encodebytes(block.der)
    found = open_apart(Kind.OPENSSH, pem, None)
    if found.outcome is Outcome.NEEDS_PASSWORD:
        if password is None:
            return Thing("private key, encrypted")
        found = open_apart(Kind.OPENSSH, pem, password)
        if found.outcome is Outcome.UNSUPPORTED:
            thing = Thing("private key, encrypted")
            thing.flag(Level.NOTE, "opening it needs the bcrypt package, or another cipher")
            return thing
        if found.outcome is Outcome.REFUSED:
            return _not_opened()
    if found.outcome is Outcome.TOO_LONG:
        return _asks_too_much("private key")
    if found.outcome is not Outcome.OPENED:
        raise _damaged(source)
    thing = _opened_key(found)
    thing.flag(Level.WARNING, "in OpenSSH's own format, which no TLS library reads")
    return thing


def _opened_key(found: Opened) -> Thing:
    assert found.key is not None
    return describe_private_key(load_der_public_key(found.key))


def _asks_too_much(kind: str) -> Thing:
    thing = Thing(kind)
    thing.flag(Level.BAD, "opening it asks for more time or memory than it is given")
    return thing


def _not_opened() -> Thing:
    thing = Thing("private key, encrypted")
    thing.flag(Level.WARNING, "this password does not open it")
    return thing


def _damaged(source: str) -> CertificateError:
    # The library's words could quote parts of the secret, so they stay out.
    return CertificateError(
        f"{quote_untrusted(source)}: a private key can't be decoded: it is damaged"
    )


def _of_der(data: bytes, source: str, now: datetime, password: bytes | None) -> tuple[Thing, ...]:
    ways: tuple[Callable[[], list[Thing]], ...] = (
        lambda: [describe_certificate(x509.load_der_x509_certificate(data), now)],
        lambda: [describe_crl(x509.load_der_x509_crl(data), now)],
        lambda: [describe_request(x509.load_der_x509_csr(data), data)],
        lambda: [_key_of_der(data)],
        lambda: [describe_public_key(load_der_public_key(data))],
        lambda: [describe_certificate(item, now) for item in _pkcs7(data)],
    )
    for way in ways:
        try:
            return tuple(way())
        except _FAILS:
            continue
    return _of_pkcs12(data, source, now, password)


def _key_of_der(data: bytes) -> Thing:
    """Describe a private key that is not encrypted.

    Raises:
        ValueError: if it is none.
    """
    if data[:1] != b"\x30" or len(data) > MAX_KEY_BYTES:
        raise ValueError("no private key")
    found = open_apart(Kind.KEY, data, None)
    if found.outcome is Outcome.TOO_LONG:
        return _asks_too_much("private key")
    if found.outcome is not Outcome.OPENED:
        raise ValueError("no private key")
    return _opened_key(found)


def _pkcs7(data: bytes) -> list[x509.Certificate]:
    with warnings.catch_warnings():
        # cryptography's word on stores that are BER, as OpenSSL writes them.
        warnings.simplefilter("ignore")
        return load_der_pkcs7_certificates(data)


def _of_pkcs12(
    data: bytes, source: str, now: datetime, password: bytes | None
) -> tuple[Thing, ...]:
    # A PFX is a sequence that begins with version 3 (RFC 7292 section 4).
    if data[:1] != b"\x30" or b"\x02\x01\x03" not in data[:16]:
        raise CertificateError(f"{quote_untrusted(source)} is of none of the known kinds")
    found = open_apart(Kind.STORE, data, password)
    if found.outcome is Outcome.TOO_LONG:
        return (_asks_too_much("PKCS#12 store"),)
    if found.outcome is Outcome.OPENED:
        things = [_opened_key(found)] if found.key is not None else []
        certificates = [x509.load_der_x509_certificate(item) for item in found.certificates]
        return (*things, *(describe_certificate(item, now) for item in certificates))
    thing = Thing("PKCS#12 store, encrypted")
    words = "needs a password" if password is None else "this password does not open it"
    thing.flag(Level.WARNING, words)
    return (thing,)
