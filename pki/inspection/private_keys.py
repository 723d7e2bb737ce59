"""Describes private keys by their public half, and says which programs read their form."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.serialization import load_der_public_key

from pki.errors import CertificateError, quote_untrusted
from pki.inspection.keys import describe_private_key
from pki.inspection.opening import Kind, Opened, OpeningResult, open_in_subprocess
from pki.inspection.pem_blocks import Block
from pki.inspection.report_item import Level, ReportItem
from pki.keys.encoding import MAX_KEY_BYTES

# Opening a hostile key takes up to ten seconds.
MOST_OPENED = 10
_TO_PKCS8 = "openssl pkcs8 -topk8 -nocrypt -in FILE -out KEY, with mode 600"
_FORMS = {
    "RSA PRIVATE KEY": "PKCS#1",
    "EC PRIVATE KEY": "SEC1",
    "DSA PRIVATE KEY": "DSA's own",
    "PRIVATE KEY": "PKCS#8",
    "ENCRYPTED PRIVATE KEY": "PKCS#8, encrypted",
    "OPENSSH PRIVATE KEY": "OpenSSH's own",
}


class KeyReader:
    """Describes the private keys of one file.

    Args:
        source: the file's name, for messages.
        password: for encrypted keys and stores.
    """

    def __init__(self, source: str, password: bytes | None) -> None:
        self.source = source
        self.password = password
        self._opened = 0

    def open(self, kind: Kind, data: bytes, password: bytes | None) -> Opened:
        """Open a key or a store in a process of its own, unless too many were opened before."""
        self._opened += 1
        if self._opened > MOST_OPENED:
            return Opened(OpeningResult.TOO_MANY)
        return open_in_subprocess(kind, data, password)

    def describe_block(self, block: Block) -> ReportItem:
        """Describe the private key in a PEM block.

        Raises:
            CertificateError: if it is damaged.
        """
        report = self._describe(block)
        form = _FORMS.get(block.label, "")
        if form:
            report.facts["form"] = form
            report.row("form", form)
        if form in ("PKCS#1", "SEC1"):
            if block.encrypted:
                report.flag(Level.WARNING, "encrypted in the old way of OpenSSL, which few read")
            report.flag(Level.NOTE, f"in the form {form}, which Java reads only with BouncyCastle")
            report.advise(f"Where PKCS#8 is wanted: {_TO_PKCS8}")
        elif block.encrypted:
            report.advise(
                f"Give its password with --password-file, or decrypt it: {_TO_PKCS8}. gRPC and "
                "Go read no encrypted key"
            )
        return report

    def _describe(self, block: Block) -> ReportItem:
        if block.label == "OPENSSH PRIVATE KEY":
            return self._describe_openssh(block)
        if block.encrypted and (self.password is None or block.label != "ENCRYPTED PRIVATE KEY"):
            return ReportItem("private key, encrypted")
        password = self.password if block.encrypted else None
        opened = self.open(Kind.KEY, block.der, password)
        if opened.outcome is OpeningResult.OPENED:
            return describe_opened_key(opened)
        kind = "private key, encrypted" if block.encrypted else "private key"
        if opened.outcome in (OpeningResult.TOO_LONG, OpeningResult.TOO_MANY):
            return not_opened(kind, opened.outcome)
        if block.encrypted:
            return wrong_password(kind)
        raise self._damaged()

    def _describe_openssh(self, block: Block) -> ReportItem:
        whole = b"-----BEGIN OPENSSH PRIVATE KEY-----\n%b-----END OPENSSH PRIVATE KEY-----\n"
        pem = whole % base64.encodebytes(block.der)
        opened = self.open(Kind.OPENSSH, pem, None)
        encrypted = opened.outcome is OpeningResult.NEEDS_PASSWORD
        if encrypted and self.password is not None:
            opened = self.open(Kind.OPENSSH, pem, self.password)
        report = self._openssh_report(opened, encrypted=encrypted)
        report.flag(Level.WARNING, "in OpenSSH's own format, which no TLS library reads")
        report.advise(
            "For TLS, convert a copy: cp FILE KEY && ssh-keygen -p -m PKCS8 -N '' -f KEY; better, "
            "make a key of its own: handfast issue NAME"
        )
        return report

    def _openssh_report(self, opened: Opened, *, encrypted: bool) -> ReportItem:
        match opened.outcome:
            case OpeningResult.OPENED:
                return describe_opened_key(opened)
            case OpeningResult.NEEDS_PASSWORD:
                return ReportItem("private key, encrypted")
            case OpeningResult.TOO_LONG | OpeningResult.TOO_MANY:
                return not_opened("private key", opened.outcome)
            case OpeningResult.UNSUPPORTED if encrypted:
                report = ReportItem("private key, encrypted")
                report.flag(Level.NOTE, "opening it needs the bcrypt package, or another cipher")
                return report
            case OpeningResult.REFUSED if encrypted:
                return wrong_password("private key, encrypted")
        raise self._damaged()

    def describe_der(self, data: bytes) -> ReportItem:
        """Describe a private key in DER that is not encrypted.

        Raises:
            ValueError: if the bytes are no such key.
        """
        if len(data) > MAX_KEY_BYTES or not _begins_with_version(data):
            raise ValueError("no private key")
        opened = self.open(Kind.KEY, data, None)
        if opened.outcome in (OpeningResult.TOO_LONG, OpeningResult.TOO_MANY):
            return not_opened("private key", opened.outcome)
        if opened.outcome is not OpeningResult.OPENED:
            raise ValueError("no private key")
        return describe_opened_key(opened)

    def _damaged(self) -> CertificateError:
        # The library's message could quote parts of the secret, so it is left out.
        return CertificateError(
            f"{quote_untrusted(self.source)}: a private key can't be decoded: it is damaged"
        )


def _begins_with_version(data: bytes) -> bool:
    """Return whether DER is a sequence that begins with a small number, as every private key is.

    Opening what may be a key takes a process of its own, so it is not tried with other files.
    """
    if len(data) < 2 or data[0] != 0x30:
        return False
    start = 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
    return data[start : start + 2] == b"\x02\x01"


def describe_opened_key(opened: Opened) -> ReportItem:
    """Describe a key that was opened."""
    assert opened.key is not None
    return describe_private_key(load_der_public_key(opened.key))


def not_opened(kind: str, outcome: OpeningResult) -> ReportItem:
    """Return the description of a key or store whose opening was not tried, or not to its end."""
    report = ReportItem(kind)
    if outcome is OpeningResult.TOO_MANY:
        report.flag(Level.WARNING, f"not opened: only the first {MOST_OPENED} of a file are")
    else:
        report.flag(Level.BAD, "opening it asks for more time or memory than it is given")
    return report


def wrong_password(kind: str) -> ReportItem:
    """Return the description of a key or store that the password does not open."""
    report = ReportItem(kind)
    report.flag(Level.WARNING, "this password does not open it")
    return report
