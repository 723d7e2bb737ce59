"""Finds PEM blocks as leniently as possible, and says which programs do not find them.

What the rules say of other programs was tried with OpenSSL 3.0, gRPC's BoringSSL, Go and Java.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from pki.errors import CertificateError, quote_untrusted
from pki.inspection.report_item import Flag, Level

MOST_BLOCKS = 1000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WHITE_SPACE = b" \t\r\n\v\f"
_MOST_LINES = 200_000
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 #]{1,40})-----")
_HEADER = re.compile(rb"\s*[A-Za-z][A-Za-z0-9-]{0,40}:")
_CERTIFICATE_LABELS = {
    "X509 CERTIFICATE": "labelled X509 CERTIFICATE, which Go skips",
    "TRUSTED CERTIFICATE": "labelled TRUSTED CERTIFICATE, which only OpenSSL reads",
}
_LAYOUT_REMEDY = "write each BEGIN and END line alone, at its start"


@dataclass(frozen=True, slots=True)
class Block:
    """A PEM block: its label, its content in DER (empty if it is no base64), and its form."""

    label: str
    der: bytes
    encrypted: bool
    has_headers: bool


def find_blocks(data: bytes, source: str) -> list[Block]:
    """Return the PEM blocks; text between them is a comment.

    Raises:
        CertificateError: if there are too many, or one has no end.
    """
    blocks: list[Block] = []
    at = 0
    while match := _BEGIN.search(data, at):
        if len(blocks) >= MOST_BLOCKS:
            raise CertificateError(
                f"{quote_untrusted(source)} holds more than {MOST_BLOCKS} PEM blocks"
            )
        label = match[1].decode()
        end = data.find(b"-----END " + match[1] + b"-----", match.end())
        if end < 0:
            raise CertificateError(
                f"{quote_untrusted(source)}: the PEM block {quote_untrusted(label)} is cut off"
            )
        blocks.append(_block(label, data[match.end() : end]))
        at = end
    return blocks


def _block(label: str, body: bytes) -> Block:
    has_headers = _HEADER.match(body) is not None
    headers, _, rest = (
        body.replace(b"\r\n", b"\n").partition(b"\n\n") if has_headers else (b"", b"", body)
    )
    try:
        der = base64.b64decode(rest.translate(None, WHITE_SPACE), validate=True)
    except binascii.Error:
        der = b""
    encrypted = b"ENCRYPTED" in headers or label.startswith("ENCRYPTED")
    return Block(label, der, encrypted, has_headers)


def layout_flags(data: bytes, blocks: list[Block]) -> Iterator[Flag]:
    """Return what is wrong with the layout of a PEM text, so that other programs do not read it."""
    if data.startswith(BYTE_ORDER_MARK):
        yield _bad(
            "begins with a byte order mark: gRPC and Go silently skip the first block; "
            "save it without"
        )
    has_headers = any(block.has_headers and block.label == "CERTIFICATE" for block in blocks)
    if b"\n" not in data and b"\r" in data:
        yield _bad("ends its lines with CR alone, which only Java reads; end them with LF")
    elif has_headers:
        yield _bad("headers within a certificate's block, which OpenSSL refuses; remove them")
    else:
        yield from _line_flags(data)
    for label in {block.label for block in blocks} & set(_CERTIFICATE_LABELS):
        yield Flag(Level.WARNING, _CERTIFICATE_LABELS[label])


def _line_flags(data: bytes) -> Iterator[Flag]:
    """Return one flag for each kind of bad line: the first of its kind."""
    found: dict[str, int] = {}
    inside = blank = False
    lines = islice(io.BytesIO(data.removeprefix(BYTE_ORDER_MARK)), _MOST_LINES)
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if b"-----" not in text:
            blank = blank or (inside and not text)
            if inside and text and blank:
                found.setdefault("blank", number)
            if not inside and text:
                found.setdefault("text", number)
            continue
        begins, ends = text.count(b"-----BEGIN "), text.count(b"-----END ")
        if begins + ends > 1:
            found.setdefault("joined", number)
        elif line[:1] in b" \t" and line.lstrip()[:5] == b"-----":
            found.setdefault("indented", number)
        elif text[:5] != b"-----" or text[-5:] != b"-----":
            found.setdefault("beside", number)
        inside, blank = begins > 0 and text.rfind(b"-----BEGIN ") > text.rfind(b"-----END "), False
    messages = {
        "joined": f"line {{}} joins BEGIN and END lines: others stop there; {_LAYOUT_REMEDY}",
        "indented": f"line {{}} indents BEGIN or END, which others skip; {_LAYOUT_REMEDY}",
        "beside": f"line {{}} holds more than BEGIN or END, which others skip; {_LAYOUT_REMEDY}",
        "blank": "a blank line within a block, before line {}, which OpenSSL refuses; remove it",
    }
    for kind, message in messages.items():
        if kind in found:
            yield _bad(message.format(found[kind]))
    if "text" in found:
        yield Flag(
            Level.NOTE,
            f"text outside the blocks, first in line {found['text']}: handfast refuses it, "
            "others skip it",
        )


def _bad(message: str) -> Flag:
    return Flag(Level.BAD, message)
