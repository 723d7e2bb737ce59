"""What a command says: a few lines or a table for people, one JSON object for scripts."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pki.errors import printable

SCHEMA = 1

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object, for scripts (docs/cli.md).")
]


def tell(command: str, data: Mapping[str, object], lines: Sequence[str], *, as_json: bool) -> None:
    """Print what a command did.

    Args:
        command: its name, e.g. ``ca init``.
        data: the facts, for scripts.
        lines: the same in words, for people.
        as_json: which of the two.
    """
    if as_json:
        document = {"schema": SCHEMA, "command": command, **data}
        sys.stdout.write(json.dumps(document, default=_plain, ensure_ascii=True) + "\n")
        return
    console = console_for(sys.stdout)
    for line in lines:
        # Whatever a line is made of, a path above all, it can't paint the terminal.
        console.print(printable(line), soft_wrap=True, highlight=False, markup=False)


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; whatever came from outside is escaped."""
    table = Table(title=escape(printable(title)))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    console_for(sys.stdout).print(table)


def complain(message: str, remedy: str = "") -> None:
    """Print one line on stderr: what is wrong, and what to do."""
    words = f"handfast: {message.rstrip('.')}" + (f". {remedy}" if remedy else "")
    sys.stderr.write(printable(" ".join(words.split())) + "\n")


def path_word(path: Path) -> str:
    """Return a path as one word of a command line: quoted for a shell, and printable."""
    return printable(shlex.quote(str(path)))


def console_for(stream: object) -> Console:
    """Give a console: as wide as the terminal, or wide enough where there is none."""
    if isinstance(stream, io.TextIOWrapper):
        # Names hold letters that an ASCII terminal or pipe has not: better escaped than an error.
        stream.reconfigure(errors="backslashreplace")
    is_terminal = bool(getattr(stream, "isatty", lambda: False)())
    return Console(width=None if is_terminal else 160)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
