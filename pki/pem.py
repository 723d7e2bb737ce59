"""Read PEM (RFC 7468) strictly: only whole blocks, in an input of limited size.

Common readers take the first block of the kind that they need and silently skip the rest: text
between blocks, a broken block among valid ones, a second certificate. Here each of these is an
error, because other tools may read the part that was skipped. So is what only some of them skip: a
block behind a byte order mark (gRPC and Go), an indented BEGIN line (all that were tried).

Error messages name a line and never quote it: a broken block may be a private key.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from pki.errors import InputError

_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,64})-----")
# Not str.splitlines, which splits at form feeds and other characters too.
_END_OF_LINE = re.compile(r"\r\n|\n")
_BASE64_LINE = re.compile(r"[A-Za-z0-9+/=]{1,76}")
_LOOK = "handfast inspect FILE says what it is"
_HEADERS = (
    "It is a key encrypted in OpenSSL's old way; write it anew: "
    "openssl pkcs8 -topk8 -in KEY -out NEW"
)  # What stands there instead of PEM, by its first bytes.
_INSTEAD = (
    (b"\xef\xbb\xbf", "begins with a byte order mark", "Save it without one, as ASCII"),
    (b"\xff\xfe", "is text in UTF-16", "Convert it: iconv -f UTF-16 -t ASCII"),
    (b"\xfe\xff", "is text in UTF-16", "Convert it: iconv -f UTF-16 -t ASCII"),
    (b"\xfe\xed\xfe\xed", "is a Java keystore (JKS)", f"Export it as PEM; {_LOOK}"),
    (b"\x30", "is DER (or a PKCS#12 store)", f"Convert it to PEM; {_LOOK}"),
)


@dataclass(frozen=True, slots=True)
class PemBlock:
    """One block: its label, e.g. ``CERTIFICATE``, and the DER inside."""

    label: str
    der: bytes


def read_blocks(data: bytes, *, what: str, max_bytes: int) -> tuple[PemBlock, ...]:
    """Return the blocks of a PEM input.

    Args:
        data: the whole input.
        what: names the input in errors, e.g. ``trust bundle``.
        max_bytes: the largest input that is accepted.

    Returns:
        The blocks in order; empty if the input holds only white space.

    Raises:
        InputError: if the input is too large, is not ASCII, or holds anything that is not a whole
            and well-formed block.
    """
    if len(data) > max_bytes:
        raise InputError(f"{what} of {len(data)} bytes is larger than {max_bytes}")
    lines = _END_OF_LINE.split(_text(data, what))
    blocks: list[PemBlock] = []
    label: str | None = None
    body: list[str] = []
    for number, raw in enumerate(lines, start=1):
        line = raw.strip(" \t")
        if "-----" in line:
            _check_boundary(raw, what, number)
        begin = _BEGIN.fullmatch(line)
        if label is None:
            if begin:
                label, body = begin[1], []
            elif line:
                raise InputError(
                    f"{what} holds text outside a PEM block at line {number}",
                    remedy=f"Leave only the PEM blocks in it; {_LOOK}",
                )
        elif line == f"-----END {label}-----":
            blocks.append(PemBlock(label, _decode(body, what, number)))
            label = None
        elif _BASE64_LINE.fullmatch(line):
            body.append(line)
        else:
            raise InputError(
                f"{what} holds a broken PEM block at line {number}",
                remedy=_HEADERS if line.startswith(("Proc-Type:", "DEK-Info:")) else "",
            )
    if label is not None:
        raise InputError(f"{what} ends inside a {label} block: it is cut off")
    return tuple(blocks)


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        for start, found, remedy in _INSTEAD:
            if data.startswith(start):
                raise InputError(f"{what} {found}, not PEM in ASCII", remedy=remedy) from None
        raise InputError(
            f"{what} is no PEM: byte {error.start} is not ASCII", remedy="Give PEM text"
        ) from None


def _check_boundary(line: str, what: str, number: int) -> None:
    """Check that a line with BEGIN or END is one that every reader of PEM finds.

    Raises:
        InputError: if it is indented, or joined with another.
    """
    if line[:1] in " \t":
        raise InputError(
            f"{what} indents a BEGIN or END line, at line {number}: other programs skip such a "
            "block",
            remedy="Let the line begin with the dashes, without spaces",
        )
    if line.count("-----BEGIN ") + line.count("-----END ") > 1:
        raise InputError(
            f"{what} joins BEGIN and END lines, at line {number}",
            remedy="End each line with a line feed; files joined by cat need one at their ends",
        )


def _decode(body: list[str], what: str, number: int) -> bytes:
    try:
        return base64.b64decode("".join(body), validate=True)
    except binascii.Error:
        raise InputError(
            f"{what} holds a broken PEM block that ends at line {number}: not base64"
        ) from None
