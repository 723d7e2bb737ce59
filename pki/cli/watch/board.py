"""Draws a dashboard within the size of a terminal: a table, and lines below it.

Where there is little room, the less important columns are left out, then rows from the end. No text
is ever broken over two lines, and the lines below the table keep a part of the height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

_BORDER = 3  # what a column needs beside its text: a line and a space on each side
_FRAME_LINES = 5  # title, the lines above and below the heading, the heading, the last line
_CURSOR = 1  # the line that a terminal leaves free
_MOST_ROWS = 30
_MOST_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        heading: what stands above it.
        rank: how important it is, 0 most; columns of rank 0 are never left out.
        least: its least width, so that the table does not move when a time gets shorter.
        most: its greatest width as long as other columns lack room.
    """

    heading: str
    rank: int
    least: int = 0
    most: int = _MOST_WIDTH


@dataclass(frozen=True, slots=True)
class Board:
    """What a dashboard shows.

    Args:
        title: the line above the table.
        columns: the columns of the table, from left to right.
        rows: the most important first, each with a cell for every column.
        below: lines below the table, the most important first.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Text, ...]]
    below: Sequence[Text]


@dataclass(frozen=True, slots=True)
class Frame:
    """One state of a dashboard.

    Args:
        board: what to draw.
        data: the same facts, for scripts.
        changed: whether anything but the time differs from the frame before.
    """

    board: Board
    data: dict[str, object]
    changed: bool


def draw(board: Board, width: int | None, height: int | None) -> Group:
    """Draw a dashboard.

    Args:
        board: what the dashboard shows.
        width: the terminal's width in characters; None if there is no terminal.
        height: the terminal's height in lines; None if it may scroll.
    """
    rows, below = _within(board, height)
    widths = _widths(board, rows, width)
    table = Table()
    for at, size in widths.items():
        table.add_column(board.columns[at].heading, no_wrap=True, overflow="ellipsis", width=size)
    for row in rows:
        table.add_row(*(row[at] for at in widths))
    more = len(board.rows) - len(rows)
    lines = [*([Text(f"and {more} more")] if more else []), *below]
    for line in (title := Text(board.title, style="italic"), *lines):
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(title, table, *lines)


def _within(board: Board, height: int | None) -> tuple[Sequence[tuple[Text, ...]], Sequence[Text]]:
    """Return the rows and lines that fit; the lines get at least a third of the room."""
    if height is None:
        return board.rows[:_MOST_ROWS], board.below
    room = max(2, height - _FRAME_LINES - _CURSOR)
    for_lines = min(len(board.below), max(1, room // 3))
    fit = room - for_lines
    if len(board.rows) > fit:
        fit -= 1  # for the line that says how many more there are
    rows = board.rows[: max(1, fit)]
    spare = room - len(rows) - (len(rows) < len(board.rows))
    return rows, board.below[: max(0, spare)]


def _widths(board: Board, rows: Sequence[tuple[Text, ...]], width: int | None) -> dict[int, int]:
    """Choose the columns that fit, by rank, and the width of each."""
    wanted = {
        at: max(column.least, len(column.heading), *(row[at].cell_len for row in rows), 1)
        for at, column in enumerate(board.columns)
    }
    if width is None:
        return wanted
    spare = width - 1
    chosen: dict[int, int] = {}
    by_rank = sorted(wanted, key=lambda at: board.columns[at].rank)
    firm = [at for at in by_rank if board.columns[at].rank == 0]
    for number, at in enumerate(firm):
        # Each of these columns gets an equal part, and what the columns before it did not use.
        part = spare // (len(firm) - number) - _BORDER
        chosen[at] = max(1, min(wanted[at], part, board.columns[at].most))
        spare -= chosen[at] + _BORDER
    for at in by_rank[len(firm) :]:
        size = min(wanted[at], board.columns[at].most)
        if size + _BORDER <= spare:
            chosen[at] = size
            spare -= size + _BORDER
    for at in by_rank:
        if at in chosen:
            more = min(spare, wanted[at] - chosen[at])
            chosen[at] += more
            spare -= more
    return dict(sorted(chosen.items()))
