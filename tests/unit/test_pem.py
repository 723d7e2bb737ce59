"""PEM is read strictly, and an error says what stands there instead, and what to do."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from pki.errors import InputError
from pki.pem import read_blocks

BODY = base64.encodebytes(bytes(range(200)))
BLOCK = b"-----BEGIN CERTIFICATE-----\n" + BODY + b"-----END CERTIFICATE-----\n"


def read(data: bytes) -> int:
    return len(read_blocks(data, what="trust bundle", max_bytes=100_000))


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b" \t\n"),
        lambda text: text.rstrip(b"\n"),
        lambda text: b"\n\n" + text + b"\n \n",
        lambda text: text.replace(BODY, b"  " + BODY),
    ],
)
def test_what_every_reader_of_pem_reads_is_read(rewrite: Callable[[bytes], bytes]) -> None:
    assert read(rewrite(BLOCK + BLOCK)) == 2


@pytest.mark.parametrize(
    ("rewrite", "message", "remedy"),
    [
        (lambda text: b"\xef\xbb\xbf" + text, "begins with a byte order mark", "without one"),
        (lambda text: text.decode().encode("utf-16"), "is text in UTF-16", "iconv"),
        (lambda _: b"\xfe\xed\xfe\xed\0\0\0\2", "is a Java keystore", "handfast inspect"),
        (lambda _: b"\x30\x82\x01\0\xff", "is DER", "handfast inspect"),
        (lambda text: text + b"\xff", "byte 300 is not ASCII|byte 3.. is not ASCII", "PEM text"),
        (lambda text: b"  " + text, "indents a BEGIN or END line, at line 1", "spaces"),
        (lambda text: text.replace(b"-----END", b"\t-----END"), "at line 6", "spaces"),
        (
            lambda text: text.rstrip(b"\n") + text,
            "joins BEGIN and END lines, at line 6",
            "line feed",
        ),
        (lambda text: text.replace(b"\n", b"\r"), "joins BEGIN and END lines, at line 1", "feed"),
        (base64.b64encode, "text outside a PEM block", "handfast inspect"),
        (lambda text: text.replace(b"\n", b"\\n"), "joins BEGIN and END", "line feed"),
        (lambda text: text + b"hello\n", "text outside a PEM block at line 7", "Leave only"),
        (lambda text: text[:-30], "broken PEM block|cut off", ""),
    ],
)
def test_what_some_reader_of_pem_skips_is_refused_with_its_line_and_a_remedy(
    rewrite: Callable[[bytes], bytes], message: str, remedy: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(rewrite(BLOCK))
    assert remedy in (caught.value.remedy or "")
    # A broken block may be a private key.
    assert BODY[:20].decode() not in caught.value.message
