"""Where the CA's ledger lies, if it is not in the CA's folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.postgresql import SCHEMES, PostgresqlDatabase
from pki.authority.ledger.databases.sqlite import SqliteFile
from pki.cli.options import as_option
from pki.errors import InputError, quote_untrusted

LEDGER_VARIABLE = "HANDFAST_LEDGER"
_PREFIX = "sqlite:///"


def parse_ledger_url(text: str) -> LedgerPlace:
    """Return the place that a URL such as ``sqlite:////var/lib/handfast/ledger.db`` names.

    Raises:
        InputError: if it names neither a file by its whole path nor a database of PostgreSQL.
    """
    if text.startswith(SCHEMES):
        return PostgresqlDatabase.parse(text)
    path = text.removeprefix(_PREFIX)
    if path == text or not path.startswith("/") or any(sign in path for sign in "?#%\0"):
        # With an @, it may hold a password: postgresql+psycopg://USER:PASSWORD@HOST.
        named = "what was given" if "@" in text else quote_untrusted(text)
        raise InputError(
            f"{named} is no URL of a ledger",
            remedy="A ledger is a file of SQLite, by its whole path: sqlite:////var/lib/ledger.db, "
            "or a database of PostgreSQL: postgresql://USER@HOST:PORT/DATABASE",
        )
    return SqliteFile(Path(path))


LedgerOption = Annotated[
    LedgerPlace | None,
    typer.Option(
        "--ledger",
        envvar=LEDGER_VARIABLE,
        parser=as_option(parse_ledger_url),
        metavar="URL",
        help="The CA's ledger, if it is not in DIR/ca: sqlite:////PATH, or "
        "postgresql://USER@HOST/DATABASE, which DIR/ca remembers. All commands on the folder read "
        f"it from {LEDGER_VARIABLE}.",
    ),
]


def ledger_elsewhere() -> LedgerPlace | None:
    """Return the ledger that the environment names; None for the one in the CA's folder.

    Raises:
        InputError: if it names none.
    """
    text = os.environ.get(LEDGER_VARIABLE, "")
    return parse_ledger_url(text) if text else None
