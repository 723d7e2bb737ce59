"""Describes the objects in a file: PEM with any text around it, DER, stores, and what carries them.

What can't be read here is named all the same, with what to do: a Java keystore, a page of HTML.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_ssh_public_key
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from pki.errors import CertificateError, quote_untrusted
from pki.inspection.certificates import describe_certificate
from pki.inspection.containers import open_container
from pki.inspection.crls import describe_crl
from pki.inspection.formatting import quote_if_unsafe, without_decoder_details
from pki.inspection.keys import describe_public_key
from pki.inspection.opening import Kind, OpeningResult
from pki.inspection.other_kinds import pgp_item, recognise_kind
from pki.inspection.pem_blocks import BYTE_ORDER_MARK, MOST_BLOCKS, Block, find_blocks, layout_flags
from pki.inspection.private_keys import KeyReader, describe_opened_key, not_opened
from pki.inspection.report_item import Level, ReportItem
from pki.inspection.requests import describe_request
from pki.inspection.wrappings import decode_text, restore_lines
from pki.x509.decoding import UNREADABLE

MAX_BYTES = 64 * 1024 * 1024
_MOST_SSH_BYTES = 16 * 1024
_FAILS = (*UNREADABLE, UnsupportedAlgorithm)
_SSH = (b"ssh-", b"ecdsa-sha2-", b"sk-ssh-", b"sk-ecdsa-")
# pkcs-12PbeIds (RFC 7292 appendix C), and the last part of those that OpenSSL 3 refuses.
_PKCS12_PBE = bytes.fromhex("060a2a864886f70d010c01")
_OLD_ENCRYPTION = {1: "RC4-128", 2: "RC4-40", 5: "RC2-128", 6: "RC2-40"}
_TO_PEM = {
    "certificate": "openssl x509 -inform DER -in FILE",
    "revocation list": "openssl crl -inform DER -in FILE",
    "certificate request": "openssl req -inform DER -in FILE",
    "private key (not shown)": "openssl pkey -inform DER -in FILE",
    "public key": "openssl pkey -pubin -inform DER -in FILE",
}


def describe(
    data: bytes, *, source: str, now: datetime, password: bytes | None = None
) -> tuple[ReportItem, ...]:
    """Describe all objects in some bytes, in their order.

    Args:
        data: the content of a file.
        source: the file's name, for messages.
        now: the time, aware.
        password: for PKCS#12 and encrypted keys.

    Raises:
        CertificateError: if nothing can be decoded, and it is of no kind that is known.
    """
    if not data.strip():
        raise CertificateError(f"{quote_untrusted(source)} holds nothing")
    return tuple(_Describer(source, now, KeyReader(source, password)).describe(data))


class _Describer:
    """Describes one file."""

    def __init__(self, source: str, now: datetime, keys: KeyReader) -> None:
        self._source = source
        self._now = now
        self._keys = keys

    def describe(self, data: bytes) -> list[ReportItem]:
        inner, around = decode_text(data)
        container = open_container(inner.removeprefix(BYTE_ORDER_MARK))
        if container is not None:
            reports = [container.report]
            for name, content in container.entries:
                if len(reports) > MOST_BLOCKS:
                    container.report.flag(Level.WARNING, f"only the first {MOST_BLOCKS} are shown")
                    break
                reports += self._describe_entry(name, content)
        else:
            inner, between = restore_lines(inner)
            around += between
            reports = self._describe_plain(inner)
        reports[0].flags += around
        return reports

    def _describe_entry(self, name: str, content: bytes) -> list[ReportItem]:
        try:
            reports = self._describe_plain(content, in_container=True)
        except CertificateError as error:
            reports = [_unreadable(error)]
        for report in reports:
            report.facts["entry"] = name
            report.row("in", quote_if_unsafe(name))
        return reports

    def _describe_plain(self, data: bytes, *, in_container: bool = False) -> list[ReportItem]:
        blocks = find_blocks(data, self._source)
        if blocks:
            reports = self._describe_blocks(blocks)
            if not in_container:
                reports[0].flags += layout_flags(data, blocks)
            return reports
        ssh = self._describe_ssh(data)
        if ssh is not None:
            return [ssh]
        known = recognise_kind(data)
        return [known] if known is not None else self._describe_der(data)

    def _describe_blocks(self, blocks: list[Block]) -> list[ReportItem]:
        """Describe blocks; one that can't be read does not hide the others."""
        reports: list[ReportItem] = []
        errors: list[CertificateError] = []
        for block in blocks:
            try:
                reports += self._describe_block(block)
            except CertificateError as error:
                errors.append(error)
                reports.append(_unreadable(error))
        if len(errors) == len(blocks):
            raise errors[0]
        return reports

    def _describe_block(self, block: Block) -> list[ReportItem]:
        read = self._reader(block.label)
        if read is None:
            raise CertificateError(
                f"{quote_untrusted(self._source)}: PEM block {quote_untrusted(block.label)} is of "
                "no kind known here"
            )
        try:
            return read(block)
        except _FAILS as error:
            raise CertificateError(
                f"{quote_untrusted(self._source)}: the PEM block {quote_untrusted(block.label)} "
                f"can't be decoded: {without_decoder_details(quote_untrusted(error))}"
            ) from None

    def _reader(self, label: str) -> Callable[[Block], list[ReportItem]] | None:
        """Return what describes blocks of a label; None if the label is unknown."""
        match label:
            case "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE":
                read = self._describe_certificate
            case "X509 CRL":
                read = self._describe_crl
            case "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST":
                read = _describe_request
            case "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS":
                read = self._describe_pkcs7
            case "PUBLIC KEY" | "RSA PUBLIC KEY":
                read = _describe_public_key
            case "EC PARAMETERS" | "DH PARAMETERS":
                return lambda _: [_parameters(label)]
            case label if label.startswith("PGP "):
                return lambda _: [pgp_item(label)]
            case label if label.endswith("PRIVATE KEY"):
                return lambda block: [self._keys.describe_block(block)]
            case _:
                return None
        return lambda block: read(block.der)

    def _describe_certificate(self, der: bytes) -> list[ReportItem]:
        return [describe_certificate(x509.load_der_x509_certificate(der), self._now)]

    def _describe_crl(self, der: bytes) -> list[ReportItem]:
        return [describe_crl(x509.load_der_x509_crl(der), self._now)]

    def _describe_pkcs7(self, der: bytes) -> list[ReportItem]:
        with warnings.catch_warnings():
            # cryptography warns of BER encoding, which OpenSSL writes.
            warnings.simplefilter("ignore")
            certificates = load_der_pkcs7_certificates(der)
        reports = [describe_certificate(item, self._now) for item in certificates]
        if reports:
            reports[0].flag(Level.NOTE, "in PKCS#7, which most TLS libraries do not read")
            reports[0].advise("take them out: openssl pkcs7 -print_certs -in FILE (-inform DER)")
        return reports

    def _describe_ssh(self, data: bytes) -> ReportItem | None:
        """Describe a public key or certificate of SSH; None if it is none."""
        if not data.startswith(_SSH) or len(data) > _MOST_SSH_BYTES:
            return None
        kind = data.split(b" ", 1)[0]
        report = ReportItem("certificate of SSH" if b"-cert-v01@" in kind else "public key of SSH")
        with contextlib.suppress(*_FAILS):
            report = describe_public_key(load_ssh_public_key(data))
        report.flag(Level.WARNING, "in SSH's own format, which no TLS library reads")
        report.advise("TLS needs an X.509 certificate: handfast issue NAME")
        return report

    def _describe_der(self, data: bytes) -> list[ReportItem]:
        ways: tuple[Callable[[bytes], list[ReportItem]], ...] = (
            self._describe_certificate,
            self._describe_crl,
            _describe_request,
            lambda der: [self._keys.describe_der(der)],
            _describe_public_key,
            self._describe_pkcs7,
        )
        for way in ways:
            try:
                reports = way(data)
            except _FAILS:
                continue
            if reports:
                command = _TO_PEM.get(reports[0].kind.removeprefix("CA "))
                if command is not None:
                    reports[0].flag(Level.NOTE, "in DER; most TLS libraries read PEM")
                    reports[0].advise(f"write it as PEM: {command}")
                return reports
        return self._describe_pkcs12(data)

    def _describe_pkcs12(self, data: bytes) -> list[ReportItem]:
        # A PFX is a sequence that begins with version 3 (RFC 7292 section 4).
        if data[:1] != b"\x30" or b"\x02\x01\x03" not in data[:16]:
            raise CertificateError(
                f"{quote_untrusted(self._source)} is of none of the known kinds",
                remedy="Give a certificate, key, request, revocation list or store",
            )
        old = _old_encryption(data)
        opened = self._keys.open(Kind.STORE, data, self._keys.password)
        if opened.outcome is OpeningResult.OPENED:
            reports = [describe_opened_key(opened)] if opened.key is not None else []
            certificates = [x509.load_der_x509_certificate(item) for item in opened.certificates]
            reports += [describe_certificate(item, self._now) for item in certificates]
            reports = reports or [ReportItem("PKCS#12 store, empty")]
        elif opened.outcome in (OpeningResult.TOO_LONG, OpeningResult.TOO_MANY):
            reports = [not_opened("PKCS#12 store", opened.outcome)]
        else:
            report = ReportItem("PKCS#12 store, encrypted")
            given = self._keys.password is not None
            message = "this password does not open it" if given else "needs a password"
            report.flag(Level.WARNING, message)
            report.advise("give its password: --password-file FILE, with the password as a line")
            reports = [report]
        if old:
            reports[0].flag(
                Level.WARNING, f"a store encrypted with {old}, which OpenSSL 3 refuses to read"
            )
            reports[0].advise(
                "encrypt it anew: openssl pkcs12 -legacy -in FILE -nodes -out ALL.pem; openssl "
                "pkcs12 -export -in ALL.pem -out NEW.p12; then remove ALL.pem"
            )
        return reports


def _describe_request(der: bytes) -> list[ReportItem]:
    return [describe_request(x509.load_der_x509_csr(der), der)]


def _describe_public_key(der: bytes) -> list[ReportItem]:
    return [describe_public_key(load_der_public_key(der))]


def _old_encryption(store: bytes) -> str:
    """Return the old algorithm that a PKCS#12 store names; empty if none."""
    at = store.find(_PKCS12_PBE)
    while at >= 0:
        last = at + len(_PKCS12_PBE)
        if name := _OLD_ENCRYPTION.get(store[last] if last < len(store) else 0, ""):
            return name
        at = store.find(_PKCS12_PBE, last)
    return ""


def _parameters(label: str) -> ReportItem:
    report = ReportItem(f"{label.split(maxsplit=1)[0]} parameters")
    if label.startswith("EC"):
        report.flag(
            Level.NOTE, "they only name the curve, and stand in the way of some readers of the key"
        )
        report.advise("leave them out: openssl ecparam -genkey -noout, or handfast issue")
    return report


def _unreadable(error: CertificateError) -> ReportItem:
    report = ReportItem("unreadable", facts={"error": error.message})
    report.flag(Level.BAD, error.message)
    return report
