"""Reads passphrases from files."""

from __future__ import annotations

import os
from pathlib import Path

from pki.errors import InputError, StateError, quote_untrusted
from pki.files.access import distrust_reason, trusted_owners
from pki.files.atomic import read_with_status

_MAX_FILE_BYTES = 64 * 1024


def read_passphrase(path: Path) -> bytes:
    """Read a passphrase: the first line of a file.

    Raises:
        StateError: if the file can't be read, is no regular file, or is larger than any passphrase.
    """
    return read_first_line(path)[0]


def read_first_line(path: Path, *, what: str = "passphrase file") -> tuple[bytes, os.stat_result]:
    """Return the first line of a file, and the file's owner and mode.

    The line is all bytes before the first line feed, without a carriage return right before it.

    Raises:
        StateError: if the file can't be read, is no regular file, or is larger than any passphrase.
    """
    try:
        data, status = read_with_status(path, max_bytes=_MAX_FILE_BYTES)
    except FileNotFoundError:
        raise StateError(f"{what} {quote_untrusted(path)} is not there") from None
    # Other tools read it so: an editor ends the line, and a comment may follow.
    return data.split(b"\n", 1)[0].removesuffix(b"\r"), status


def read_trusted_line(path: Path, *, what: str, named_by: str) -> bytes:
    """Return the first line of a file with a secret, which no untrusted user can change.

    Args:
        path: the file.
        what: names it in errors, e.g. ``passphrase file``.
        named_by: the option or variable that names the path.

    Raises:
        PkiError: if the file can't be read, is no regular file, or another user can change it, or
            if that line is empty.
    """
    try:
        line, status = read_first_line(path, what=what)
    except StateError as error:
        error.remedy = error.remedy or f"{named_by} names it: set it right"
        raise
    try:
        why = distrust_reason(status, trusted_owners(path.parent.stat()))
    except OSError as error:
        raise StateError(f"{what} {quote_untrusted(path)}: {error.strerror}") from error
    if why:
        raise StateError(
            f"{what} {quote_untrusted(path)} {why}",
            remedy=f"Give it to this user or to root, writable for them alone; {named_by} names it",
        )
    if not line:
        raise InputError(
            f"the first line of {what} {quote_untrusted(path)} is empty",
            remedy=f"Put the secret there, and nothing before it; {named_by} names it",
        )
    return line
