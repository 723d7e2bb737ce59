"""Which line of a TOML file a value stands at: a small scan, because no kept library tells.

The scan takes the file apart into tokens and follows headers, keys, arrays and inline tables, each
as deep as it goes, without recursion and in time that grows with the file alone. It decides nothing
about validity: tomllib does that. So it never raises, and of a file that is no TOML it tells what
it saw up to the first fault.

It also tells of what no policy needs and tomllib takes badly: very deep nesting (a RecursionError,
or time that grows with the square) and very long words (a bare ValueError for a long number).

Where an element's own line can't be told, its key's is given, and where that can't, its table's.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

Location = tuple[str | int, ...]

MOST_DEPTH = 32
LONGEST_WORD = 1024

# A string that never ends takes the rest of its line or of the file: so no character is looked at
# again. Up to two quotes may stand right before the three that end a string.
_TOKEN = re.compile(
    r"""
      (?P<skip> [ \t\r]++ | \#[^\n]*+ )
    | (?P<newline> \n )
    | (?P<string> \"{3} (?: [^"\\]++ | \\. | \"(?!\"\") )*+ (?: \"{3,5} )?
                | '{3} (?: [^']++ | '(?!'') )*+ (?: '{3,5} )?
                | \" (?: [^"\\\n]++ | \\[^\n] )*+ \"? | ' [^'\n]*+ '? )
    | (?P<mark> [\[\]{}=,.] )
    | (?P<bare> [^\s"'\[\]{}=,.\#]++ | . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Twice:
    """A key that stands twice: where it stands again, and where first."""

    location: Location
    line: int
    first: int


@dataclass(frozen=True, slots=True)
class Excess:
    """What no policy needs; the line is 0 where it is the file's shape as a whole."""

    words: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a file's places.

    Args:
        found: the 1-based line of each place that was seen.
        twice: the first key that stands twice, if one does.
        excess: what is deeper than ``MOST_DEPTH`` or longer than ``LONGEST_WORD``, if anything is.
    """

    found: Mapping[Location, int]
    twice: Twice | None
    excess: Excess | None

    def of(self, location: Location) -> int:
        """Return the line of a place, or of the nearest place around it; 0 if there is none."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.found:
                return self.found[location[:length]]
        return 0


def scan_lines(text: str) -> Lines:
    """Map each place in a TOML file to its line.

    Args:
        text: the file. What is no TOML is scanned as far as it makes sense.
    """
    scan = _Scan()
    number = 1
    for token in _TOKEN.finditer(text):
        kind = str(token.lastgroup)
        if kind == "bare" and token.end() - token.start() > LONGEST_WORD:
            long = f"holds a word of more than {LONGEST_WORD} characters"
            return Lines(scan.found, scan.twice, Excess(long, number))
        if kind != "skip":
            scan.take(kind, token[0], number)
        if scan.depth > MOST_DEPTH:
            deep = f"is nested more than {MOST_DEPTH} deep"
            return Lines(scan.found, scan.twice, Excess(deep))
        number += token[0].count("\n")
    return Lines(scan.found, scan.twice, None)


@dataclass(slots=True)
class _Open:
    """An array or inline table that is open; ``element`` is None for a table."""

    location: Location
    element: int | None


@dataclass(slots=True)
class _Scan:
    found: dict[Location, int] = field(default_factory=dict)
    twice: Twice | None = None
    # The table of the last header, and the last index of each array of tables.
    _table: Location = ()
    _last: dict[Location, int] = field(default_factory=dict)
    # The statement that is being read: brackets of a header, parts of a key, then its value.
    _brackets: int = 0
    _parts: list[str] = field(default_factory=list)
    _part: str | None = None
    _value: Location | None = None
    _open: list[_Open] = field(default_factory=list)

    @property
    def depth(self) -> int:
        return len(self._table) + len(self._parts) + len(self._open)

    def take(self, kind: str, text: str, number: int) -> None:
        if kind == "newline":
            if not self._open:
                self._brackets, self._parts, self._part, self._value = 0, [], None, None
        elif self._value is not None:
            self._in_value(self._value, kind, text, number)
        elif kind != "mark":
            self._part = _unquoted(text) if kind == "string" else text
        else:
            self._in_key(text, number)

    def _in_key(self, mark: str, number: int) -> None:
        if self._part is not None and mark in ".]=":
            self._parts.append(self._part)
            self._part = None
            if mark == "]" and self._brackets:
                self._enter(number)
            elif mark == "=" and not self._brackets:
                self._begin_value(number)
        elif mark == "[" and not self._open:
            self._brackets += 1
        elif mark == "}":
            self._close()

    def _enter(self, number: int) -> None:
        location: Location = ()
        for part in self._parts:
            # A name below an array of tables means its last table.
            if location in self._last:
                location = (*location, self._last[location])
            location = (*location, part)
            self.found.setdefault(location, number)
        if self._brackets > 1:
            self._last[location] = self._last.get(location, -1) + 1
            location = (*location, self._last[location])
        self.found[location] = number
        self._table, self._parts = location, []

    def _begin_value(self, number: int) -> None:
        base = self._open[-1].location if self._open else self._table
        location = (*base, *self._parts)
        for length in range(len(base) + 1, len(location)):
            self.found.setdefault(location[:length], number)
        if location in self.found and self.twice is None:
            self.twice = Twice(location, number, self.found[location])
        self.found.setdefault(location, number)
        self._value, self._parts = location, []

    def _in_value(self, value: Location, kind: str, text: str, number: int) -> None:
        inner = self._open[-1] if self._open else None
        if kind == "mark" and text in "]}":
            self._close()
        elif kind == "mark" and text == ",":
            # In an inline table a key comes next.
            self._value = None
            if inner is not None and inner.element is not None:
                inner.element += 1
                self._value = inner.location
        else:
            place = value
            if inner is not None and inner.element is not None:
                place = (*inner.location, inner.element)
            self.found.setdefault(place, number)
            if kind == "mark" and text in "[{":
                self._open.append(_Open(place, 0 if text == "[" else None))
                self._value = place if text == "[" else None

    def _close(self) -> None:
        # What was closed is a value of what is around it, or the statement's own: still a value.
        if self._open:
            self._value = self._open.pop().location


def _unquoted(text: str) -> str:
    """Return the text of a quoted key by TOML's own rules."""
    try:
        return next(iter(tomllib.loads(f"{text} = 0")))
    except tomllib.TOMLDecodeError:
        return text
