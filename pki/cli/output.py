"""What a command says: a few lines or a table for people, one JSON object for scripts."""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pki.errors import printable

SCHEMA = 1
_lost: set[bool] = set()

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
        with telling():
            sys.stdout.write(json.dumps(document, default=_plain, ensure_ascii=True) + "\n")
        return
    console = console_for(sys.stdout)
    with telling():
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
    with telling():
        console_for(sys.stdout).print(table)


@contextmanager
def telling() -> Iterator[None]:
    """Tell what was done; where nobody can be told, what is left of the command goes on.

    A reader that has gone is no fault. Any other one is told on stderr and costs exit code 1.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # Nothing more may be written there, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            complain(
                f"the output can't be written: {error.strerror or error}",
                "What the command does is done all the same, unless another line says otherwise",
            )
            _lost.add(True)


def was_lost() -> bool:
    """Tell, once, whether output was lost, other than to a reader that has gone."""
    found = bool(_lost)
    _lost.clear()
    return found


def complain(message: str, remedy: str = "") -> None:
    """Print one line on stderr: what is wrong, and what to do."""
    words = f"handfast: {message.rstrip('.')}" + (f". {remedy}" if remedy else "")
    sys.stderr.write(printable(" ".join(words.split())) + "\n")


def path_word(path: Path) -> str:
    """Return a path as one word of a command line: quoted for a shell, and printable."""
    return printable(shlex.quote(str(path)))


def console_for(stream: object) -> Console:
    """Return a console: as wide as the terminal, or wide enough where there is none."""
    if isinstance(stream, io.TextIOWrapper):
        # Names hold letters that an ASCII terminal or pipe has not: better escaped than an error.
        stream.reconfigure(errors="backslashreplace")
    is_terminal = bool(getattr(stream, "isatty", lambda: False)())
    return _Console(width=None if is_terminal else 160)


class _Console(Console):
    """A console that leaves it to its caller what a reader means that has gone."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise the error that was met, where the library would end the process."""
        raise BrokenPipeError


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
