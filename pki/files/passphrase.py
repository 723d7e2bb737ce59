"""Reads passphrases from files."""

from __future__ import annotations

import os
from pathlib import Path

from pki.errors import StateError, quote_untrusted
from pki.files.atomic import read_with_status

_MAX_FILE_BYTES = 64 * 1024


def read_passphrase(path: Path) -> bytes:
    """Read a passphrase: the first line of a file.

    Raises:
        StateError: if the file can't be read, is no regular file, or is larger than any passphrase.
    """
    return read_first_line(path)[0]


def read_first_line(path: Path) -> tuple[bytes, os.stat_result]:
    """Return the first line of a file, and the file's owner and mode.

    The line is all bytes before the first line feed, without a carriage return right before it.

    Raises:
        StateError: if the file can't be read, is no regular file, or is larger than any passphrase.
    """
    try:
        data, status = read_with_status(path, max_bytes=_MAX_FILE_BYTES)
    except FileNotFoundError:
        raise StateError(f"passphrase file {quote_untrusted(path)} is not there") from None
    # Other tools read it so: an editor ends the line, and a comment may follow.
    return data.split(b"\n", 1)[0].removesuffix(b"\r"), status
