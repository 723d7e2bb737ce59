"""Describes the objects in a file: PEM with any text around it, DER, PKCS#7, PKCS#12."""

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
from pki.inspection.crls import describe_crl
from pki.inspection.formatting import without_decoder_details
from pki.inspection.keys import describe_private_key, describe_public_key
from pki.inspection.opening import Kind, Opened, OpeningResult, open_in_subprocess
from pki.inspection.report_item import Level, ReportItem
from pki.inspection.requests import describe_request
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
) -> tuple[ReportItem, ...]:
    """Describe all objects in some bytes, in their order.

    Args:
        data: PEM, DER or PKCS#12.
        source: the file's name, for messages.
        now: the time, aware.
        password: for PKCS#12 and encrypted keys.

    Raises:
        CertificateError: if nothing can be decoded.
    """
    if not data.strip():
        raise CertificateError(f"{quote_untrusted(source)} holds nothing")
    blocks = _blocks(data, source)
    if blocks:
        reports = (_describe_block(block, source, now, password) for block in blocks)
        return tuple(report for opened in reports for report in opened)
    return _describe_der(data, source, now, password)


def _blocks(data: bytes, source: str) -> list[_Block]:
    """Return the PEM blocks; text between them is a comment."""
    opened: list[_Block] = []
    at = 0
    while match := _BEGIN.search(data, at):
        if len(opened) >= _MOST_BLOCKS:
            raise CertificateError(
                f"{quote_untrusted(source)} holds more than {_MOST_BLOCKS} PEM blocks"
            )
        label = match[1].decode()
        end = data.find(b"-----END " + match[1] + b"-----", match.end())
        if end < 0:
            raise CertificateError(
                f"{quote_untrusted(source)}: the PEM block {quote_untrusted(label)} is cut off"
            )
        opened.append(_block(label, data[match.end() : end]))
        at = end
    return opened


def _block(label: str, body: bytes) -> _Block:
    headers, _, rest = body.partition(b"\n\n") if b":" in body else (b"", b"", body)
    try:
        der = base64.b64decode(b"".join(rest.split()), validate=True)
    except binascii.Error:
        der = b""
    encrypted = b"ENCRYPTED" in headers or label.startswith("ENCRYPTED")
    return _Block(label, der, encrypted)


def _describe_block(
    block: _Block, source: str, now: datetime, password: bytes | None
) -> list[ReportItem]:
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
                return [_describe_private_key(block, source, password)]
    except _FAILS as error:
        raise CertificateError(
            f"{quote_untrusted(source)}: the PEM block {quote_untrusted(block.label)} can't be "
            f"decoded: {without_decoder_details(quote_untrusted(error))}"
        ) from None
    raise CertificateError(
        f"{quote_untrusted(source)}: PEM block {quote_untrusted(block.label)} is of no kind known "
        "here"
    )


def _describe_private_key(block: _Block, source: str, password: bytes | None) -> ReportItem:
    if block.label == "OPENSSH PRIVATE KEY":
        return _describe_openssh_key(block, source, password)
    if block.encrypted and (password is None or block.label != "ENCRYPTED PRIVATE KEY"):
        return ReportItem("private key, encrypted")
    opened = open_in_subprocess(Kind.KEY, block.der, password if block.encrypted else None)
    if opened.outcome is OpeningResult.OPENED:
        return _describe_opened_key(opened)
    if opened.outcome is OpeningResult.TOO_LONG:
        return _too_expensive("private key, encrypted" if block.encrypted else "private key")
    if block.encrypted:
        return _wrong_password()
    raise _damaged_key_error(source)


def _describe_openssh_key(block: _Block, source: str, password: bytes | None) -> ReportItem:
    whole = b"-----BEGIN OPENSSH PRIVATE KEY-----\n%b-----END OPENSSH PRIVATE KEY-----\n"
    pem = whole % base64.encodebytes(block.der)
    opened = open_in_subprocess(Kind.OPENSSH, pem, None)
    if opened.outcome is OpeningResult.NEEDS_PASSWORD:
        if password is None:
            return ReportItem("private key, encrypted")
        opened = open_in_subprocess(Kind.OPENSSH, pem, password)
        if opened.outcome is OpeningResult.UNSUPPORTED:
            report = ReportItem("private key, encrypted")
            report.flag(Level.NOTE, "opening it needs the bcrypt package, or another cipher")
            return report
        if opened.outcome is OpeningResult.REFUSED:
            return _wrong_password()
    if opened.outcome is OpeningResult.TOO_LONG:
        return _too_expensive("private key")
    if opened.outcome is not OpeningResult.OPENED:
        raise _damaged_key_error(source)
    report = _describe_opened_key(opened)
    report.flag(Level.WARNING, "in OpenSSH's own format, which no TLS library reads")
    return report


def _describe_opened_key(opened: Opened) -> ReportItem:
    assert opened.key is not None
    return describe_private_key(load_der_public_key(opened.key))


def _too_expensive(kind: str) -> ReportItem:
    report = ReportItem(kind)
    report.flag(Level.BAD, "opening it asks for more time or memory than it is given")
    return report


def _wrong_password() -> ReportItem:
    report = ReportItem("private key, encrypted")
    report.flag(Level.WARNING, "this password does not open it")
    return report


def _damaged_key_error(source: str) -> CertificateError:
    # The library's message could quote parts of the secret, so it is left out.
    return CertificateError(
        f"{quote_untrusted(source)}: a private key can't be decoded: it is damaged"
    )


def _describe_der(
    data: bytes, source: str, now: datetime, password: bytes | None
) -> tuple[ReportItem, ...]:
    ways: tuple[Callable[[], list[ReportItem]], ...] = (
        lambda: [describe_certificate(x509.load_der_x509_certificate(data), now)],
        lambda: [describe_crl(x509.load_der_x509_crl(data), now)],
        lambda: [describe_request(x509.load_der_x509_csr(data), data)],
        lambda: [_describe_der_key(data)],
        lambda: [describe_public_key(load_der_public_key(data))],
        lambda: [describe_certificate(item, now) for item in _pkcs7(data)],
    )
    for way in ways:
        try:
            return tuple(way())
        except _FAILS:
            continue
    return _describe_pkcs12(data, source, now, password)


def _describe_der_key(data: bytes) -> ReportItem:
    """Describe a private key that is not encrypted.

    Raises:
        ValueError: if the bytes are no such key.
    """
    if data[:1] != b"\x30" or len(data) > MAX_KEY_BYTES:
        raise ValueError("no private key")
    opened = open_in_subprocess(Kind.KEY, data, None)
    if opened.outcome is OpeningResult.TOO_LONG:
        return _too_expensive("private key")
    if opened.outcome is not OpeningResult.OPENED:
        raise ValueError("no private key")
    return _describe_opened_key(opened)


def _pkcs7(data: bytes) -> list[x509.Certificate]:
    with warnings.catch_warnings():
        # cryptography warns of BER encoding, which OpenSSL writes.
        warnings.simplefilter("ignore")
        return load_der_pkcs7_certificates(data)


def _describe_pkcs12(
    data: bytes, source: str, now: datetime, password: bytes | None
) -> tuple[ReportItem, ...]:
    # A PFX is a sequence that begins with version 3 (RFC 7292 section 4).
    if data[:1] != b"\x30" or b"\x02\x01\x03" not in data[:16]:
        raise CertificateError(f"{quote_untrusted(source)} is of none of the known kinds")
    opened = open_in_subprocess(Kind.STORE, data, password)
    if opened.outcome is OpeningResult.TOO_LONG:
        return (_too_expensive("PKCS#12 store"),)
    if opened.outcome is OpeningResult.OPENED:
        reports = [_describe_opened_key(opened)] if opened.key is not None else []
        certificates = [x509.load_der_x509_certificate(item) for item in opened.certificates]
        return (*reports, *(describe_certificate(item, now) for item in certificates))
    report = ReportItem("PKCS#12 store, encrypted")
    message = "needs a password" if password is None else "this password does not open it"
    report.flag(Level.WARNING, message)
    return (report,)
