"""Takes PEM out of what was put around it: another encoding of text, quotes, base64 once more.

Each step gives the bytes within, and a flag that says what was around them and how to remove it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

from pki.inspection.pem_blocks import WHITE_SPACE
from pki.inspection.report_item import Flag, Level

_UTF32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BEGIN = b"-----BEGIN "
_WRITTEN_LINE_END = re.compile(rb"-----BEGIN [A-Z0-9 #]{1,40}-----(?:\\r)?\\n")
_ONE_LINE = re.compile(rb"-----BEGIN [A-Z0-9 #]{1,40}-----[ \t]+[A-Za-z0-9+/=]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]+|[A-Za-z0-9_=\s-]+")
_LEAST_BASE64 = 64

Unwrapped = tuple[bytes, Flag] | None


def decode_text(data: bytes) -> tuple[bytes, list[Flag]]:
    """Undo another encoding of text, and base64 of the whole; return a flag for each."""
    return _apply((_from_wide_text, _from_base64), data)


def restore_lines(data: bytes) -> tuple[bytes, list[Flag]]:
    """Put line ends where the PEM has something else for them; return a flag for each."""
    return _apply((_from_written_line_ends, _from_one_line), data)


def _apply(
    steps: tuple[Callable[[bytes], Unwrapped], ...], data: bytes
) -> tuple[bytes, list[Flag]]:
    flags: list[Flag] = []
    for step in steps:
        inner = step(data)
        if inner is not None:
            data = inner[0]
            flags.append(inner[1])
    return data, flags


def _from_wide_text(data: bytes) -> Unwrapped:
    encoding = ""
    if data.startswith(_UTF32):
        encoding = "UTF-32"
    elif data.startswith(_UTF16):
        encoding = "UTF-16"
    elif data[:10] == _BEGIN[:5].decode().encode("utf-16-le"):
        encoding = "UTF-16-LE"
    elif data[:10] == _BEGIN[:5].decode().encode("utf-16-be"):
        encoding = "UTF-16-BE"
    if not encoding:
        return None
    text = data.decode(encoding, "replace").encode("utf-8", "replace")
    name = encoding[:6]
    return text, Flag(
        Level.BAD,
        f"in {name}, which no TLS library reads; convert it: iconv -f {name} -t ASCII (Windows "
        "PowerShell writes it for >; use Set-Content -Encoding ascii)",
    )


def _from_written_line_ends(data: bytes) -> Unwrapped:
    if not _WRITTEN_LINE_END.search(data):
        return None
    text = data.replace(rb"\r", b"").replace(rb"\n", b"\n").strip(b" \t\r\n\"'") + b"\n"
    return text, Flag(
        Level.BAD,
        r"its line ends are written as \n, as in JSON or an environment variable: no TLS library "
        "reads it; write real ones: printf '%b'",
    )


def _from_one_line(data: bytes) -> Unwrapped:
    if not _ONE_LINE.search(data):
        return None
    text = re.sub(rb"(-----BEGIN [A-Z0-9 #]{1,40}-----)[ \t]+", rb"\1\n", data)
    text = re.sub(rb"[ \t]+(-----END [A-Z0-9 #]{1,40}-----)[ \t]*", rb"\n\1\n", text)
    return text, Flag(
        Level.BAD,
        "its line ends became spaces, as in an unquoted shell variable: no TLS library reads it; "
        'quote the variable: "$PEM"',
    )


def _from_base64(data: bytes) -> Unwrapped:
    text = data.strip()
    if len(text) < _LEAST_BASE64 or not _BASE64.fullmatch(text):
        return None
    packed = text.translate(bytes.maketrans(b"-_", b"+/"), WHITE_SPACE)
    try:
        inner = base64.b64decode(packed, validate=True)
    except binascii.Error:
        return None
    if _BEGIN in inner:
        return inner, Flag(
            Level.BAD,
            "base64 of PEM, as the values of a Kubernetes secret are; decode it once: base64 -d",
        )
    if inner[:1] == b"\x30":
        return inner, Flag(
            Level.BAD,
            "base64 of DER without its BEGIN and END lines; add them, or decode it: base64 -d",
        )
    return None
