"""Prints what a command did: a few lines or a table for people, one JSON object for scripts.

The library that draws tables is slow to load, and most commands do not need it. So it is loaded
when something is drawn.
"""

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
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from pki.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
_PIPE_WIDTH, _PIPE_HEIGHT, _PIPE_DIGITS = 160, 25, 6
_lost_output: set[bool] = set()

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]


def print_result(
    command: str, data: Mapping[str, object], lines: Sequence[str], *, as_json: bool
) -> None:
    """Print what a command did.

    Args:
        command: its name, e.g. ``ca init``.
        data: the facts, for scripts.
        lines: the same facts as sentences, for people.
        as_json: whether to print the data and not the lines.
    """
    escape_unencodable(sys.stdout)
    with output_errors_reported():
        if as_json:
            sys.stdout.write(json_line(command, data))
            return
        for line in lines:
            # A line may hold any path: no control character of it reaches the terminal.
            sys.stdout.write(printable(line) + "\n")


def json_line(command: str, data: Mapping[str, object]) -> str:
    """Return the line with one JSON object that scripts read.

    Args:
        command: the command's name.
        data: the facts.
    """
    document = {"schema": SCHEMA, "command": command, **data}
    return json.dumps(document, default=_json_value, ensure_ascii=True) + "\n"


def table_fits(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether a table can be drawn without breaking a cell over several lines."""
    widths = (max(map(len, column)) for column in zip(headings, *rows, strict=True))
    # Each cell has a space on both sides and a line on its right; one more line begins the row.
    return sum(width + 3 for width in widths) + 1 <= console_for(sys.stdout).width


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; all its text is escaped."""
    from rich.markup import escape  # noqa: PLC0415 - loaded for tables alone
    from rich.table import Table  # noqa: PLC0415 - loaded for tables alone

    table = Table(title=escape(printable(title)))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    with output_errors_reported():
        console_for(sys.stdout).print(table)


@contextmanager
def output_errors_reported() -> Iterator[None]:
    """Report on stderr that output can't be written, and let the rest of the command go on.

    A reader that has gone, as ``head`` does, is no failure. Any other failure gives exit code 1.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # Nothing more may be written there, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print_error(
                f"the output can't be written: {error.strerror or error}",
                "What the command does is done all the same, unless another line says otherwise",
            )
            _lost_output.add(True)


def take_lost_output() -> bool:
    """Return whether output was lost since the last call, other than to a reader that has gone."""
    was_lost = bool(_lost_output)
    _lost_output.clear()
    return was_lost


def print_error(message: str, remedy: str = "") -> None:
    """Print one line on stderr: what is wrong, and what to do."""
    message = message.strip().rstrip(".")
    # A question keeps its own mark: "Did you mean 'issue'?"
    end = "" if message.endswith(("?", "!")) else "."
    line = f"handfast: {message}" + (f"{end} {remedy}" if remedy else "")
    sys.stderr.write(printable(" ".join(line.split())) + "\n")


def quote_path(path: Path) -> str:
    """Return a path as one word of a command line: quoted for a shell, and printable."""
    return printable(shlex.quote(str(path)))


def console_for(stream: TextIO) -> Console:
    """Return a console: as wide as the terminal, or wide enough where there is none."""
    from pki.cli.console import PipeConsole  # noqa: PLC0415 - loaded for what is drawn alone

    escape_unencodable(stream)
    if stream.isatty():
        return PipeConsole()
    # With a height too: else the library takes 80 columns where TERM is dumb and colours are asked
    # for, as some CI systems do.
    return PipeConsole(width=_pipe_width(), height=_PIPE_HEIGHT)


def _pipe_width() -> int:
    # Never narrower: what reads a pipe wants whole names and numbers, and some tools set COLUMNS to
    # 80 for all that they run.
    columns = os.environ.get("COLUMNS", "")
    is_width = columns.isascii() and columns.isdigit() and len(columns) < _PIPE_DIGITS
    return max(int(columns) if is_width else 0, _PIPE_WIDTH)


def escape_unencodable(stream: TextIO) -> None:
    """Make a stream escape the characters that its encoding lacks, as ASCII does."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def _json_value(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
