"""Map the values of a TOML file to their lines, which no maintained library does.

A scan splits the file into tokens and follows headers, keys, arrays and inline tables at every
depth, without recursion and in linear time. It does not check whether the file is valid: tomllib
does. So the scan never raises, and for an invalid file it returns what it has seen up to the first
error.

The scan also reports what no policy needs and tomllib handles badly: very deep nesting (a
RecursionError, or quadratic time) and very long words (a bare ValueError for a long number).

If the line of an element is unknown, the line of its key is used, or else that of its table.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

Location = tuple[str | int, ...]

MAX_DEPTH = 32
MAX_WORD_LENGTH = 1024

# A string without an end takes the rest of its line or of the file, so that no character is scanned
# twice. Up to two quotes may precede the three that end a string.
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
class DuplicateKey:
    """A key that occurs twice: the line of the second occurrence, and that of the first."""

    location: Location
    line: int
    first: int


@dataclass(frozen=True, slots=True)
class LimitExceeded:
    """Nesting or a word beyond the limits; the line is 0 for nesting."""

    message: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class LineMap:
    """The lines of the values in a file.

    Args:
        lines: the 1-based line of each location.
        duplicate: the first key that occurs twice, if any does.
        exceeded: what exceeds ``MAX_DEPTH`` or ``MAX_WORD_LENGTH``, if anything does.
    """

    lines: Mapping[Location, int]
    duplicate: DuplicateKey | None
    exceeded: LimitExceeded | None

    def of(self, location: Location) -> int:
        """Return the line of a location, or of the nearest one around it; 0 if there is none."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.lines:
                return self.lines[location[:length]]
        return 0


def map_lines(text: str) -> LineMap:
    """Map each location in a TOML file to its line.

    Args:
        text: the file. If it is not valid TOML, it is scanned as far as possible.
    """
    scan = _Scan()
    number = 1
    for token in _TOKEN.finditer(text):
        kind = str(token.lastgroup)
        if kind == "bare" and token.end() - token.start() > MAX_WORD_LENGTH:
            long = f"holds a word of more than {MAX_WORD_LENGTH} characters"
            return LineMap(scan.lines, scan.duplicate, LimitExceeded(long, number))
        if kind != "skip":
            scan.take(kind, token[0], number)
        if scan.depth > MAX_DEPTH:
            deep = f"is nested more than {MAX_DEPTH} deep"
            return LineMap(scan.lines, scan.duplicate, LimitExceeded(deep))
        number += token[0].count("\n")
    return LineMap(scan.lines, scan.duplicate, None)


@dataclass(slots=True)
class _Open:
    """An array or inline table that is open; ``element`` is None for a table."""

    location: Location
    element: int | None


@dataclass(slots=True)
class _Scan:
    lines: dict[Location, int] = field(default_factory=dict)
    duplicate: DuplicateKey | None = None
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
            self._part = _unquote(text) if kind == "string" else text
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
            # A name below an array of tables belongs to its last table.
            if location in self._last:
                location = (*location, self._last[location])
            location = (*location, part)
            self.lines.setdefault(location, number)
        if self._brackets > 1:
            self._last[location] = self._last.get(location, -1) + 1
            location = (*location, self._last[location])
        self.lines[location] = number
        self._table, self._parts = location, []

    def _begin_value(self, number: int) -> None:
        base = self._open[-1].location if self._open else self._table
        location = (*base, *self._parts)
        for length in range(len(base) + 1, len(location)):
            self.lines.setdefault(location[:length], number)
        if location in self.lines and self.duplicate is None:
            self.duplicate = DuplicateKey(location, number, self.lines[location])
        self.lines.setdefault(location, number)
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
            self.lines.setdefault(place, number)
            if kind == "mark" and text in "[{":
                self._open.append(_Open(place, 0 if text == "[" else None))
                self._value = place if text == "[" else None

    def _close(self) -> None:
        # After the end of an array or inline table, the scan is still inside the outer value.
        if self._open:
            self._value = self._open.pop().location


def _unquote(text: str) -> str:
    """Return the text of a quoted key by TOML's own rules."""
    try:
        return next(iter(tomllib.loads(f"{text} = 0")))
    except tomllib.TOMLDecodeError:
        return text
