"""Where the CA's ledger lies, if it is not in the CA's folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pki.cli.options import as_option
from pki.errors import InputError, quote_untrusted

LEDGER_VARIABLE = "HANDFAST_LEDGER"
_PREFIX = "sqlite:///"


def parse_ledger_url(text: str) -> Path:
    """Return the file that a URL such as ``sqlite:////var/lib/handfast/ledger.db`` names.

    Raises:
        InputError: if it names anything else than a file by its whole path.
    """
    path = text.removeprefix(_PREFIX)
    if path == text or not path.startswith("/") or any(sign in path for sign in "?#%\0"):
        raise InputError(
            f"{quote_untrusted(text)} is no URL of a ledger",
            remedy="A ledger is a file of SQLite, by its whole path: sqlite:////var/lib/ledger.db",
        )
    return Path(path)


LedgerOption = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        envvar=LEDGER_VARIABLE,
        parser=as_option(parse_ledger_url),
        metavar="URL",
        help="The CA's ledger, if it is not in DIR/ca: sqlite:////PATH. All commands on the folder "
        f"read it from {LEDGER_VARIABLE}.",
    ),
]


def ledger_elsewhere() -> Path | None:
    """Return the ledger that the environment names; None for the one in the CA's folder.

    Raises:
        InputError: if it names none.
    """
    text = os.environ.get(LEDGER_VARIABLE, "")
    return parse_ledger_url(text) if text else None
