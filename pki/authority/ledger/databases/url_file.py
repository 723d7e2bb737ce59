"""The file in a CA's folder that says in which database its ledger lies.

With it, every command on the folder finds the ledger, and no password is in it: libpq reads one
from ``PGPASSWORD`` or ``~/.pgpass``.
"""

from __future__ import annotations

import os
from pathlib import Path

from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.errors import InputError, StateError, quote_untrusted
from pki.files import write_durably
from pki.files.atomic import read_file_in
from pki.files.open_folder import PRIVATE, opened_folder

LEDGER_URL = "ledger.url"
_MAX_BYTES = 4096


def read_ledger_url(folder: Path) -> PostgresqlDatabase | None:
    """Return the database that a CA's folder names; None if it names none.

    Raises:
        StateError: if the file can't be read, or another user wrote it: he would choose to whom our
            password is sent.
        InputError: if it holds no URL of a database.
    """
    path = folder / LEDGER_URL
    if not os.path.lexists(path):
        return None
    with opened_folder(folder) as opened:
        data, status = read_file_in(opened, LEDGER_URL, max_bytes=_MAX_BYTES)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise StateError(
            f"{quote_untrusted(path)} is not this user's own, or others may write it",
            remedy="Run this as the CA's user, or say it yourself: HANDFAST_LEDGER=postgresql://...",
        )
    try:
        return PostgresqlDatabase.parse(data.decode().strip())
    except (UnicodeDecodeError, InputError) as error:
        raise InputError(
            f"{quote_untrusted(path)} holds no URL of a database",
            remedy="It holds one line: postgresql://USER@HOST:PORT/DATABASE",
        ) from error


def write_ledger_url(folder: Path, place: PostgresqlDatabase) -> None:
    """Write which database a CA's ledger lies in, without a password."""
    write_durably(folder / LEDGER_URL, f"{place}\n".encode(), mode=PRIVATE)
