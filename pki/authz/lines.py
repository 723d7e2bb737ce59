"""Which line of a TOML file a value stands at: a small scan, because no kept library tells.

It follows tables, arrays of tables, keys and the elements of arrays that stand under a key. Where
an element's own line can't be told, its key's is given, and where that can't, its table's.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

Location = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)(.+?)\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_.\s-])+?)\s*=(.*)""")
_STRING = re.compile(r'"""|' + r"'''" + r'|"(?:[^"\\]|\\.)*"|' + r"'[^']*'|#.*|[\[\]{},]")


def line_numbers(text: str) -> Mapping[Location, int]:
    """Map each place in a TOML file to its 1-based line.

    Args:
        text: a file that tomllib accepts.
    """
    scan = _Scan()
    for number, line in enumerate(text.split("\n"), start=1):
        scan.take(number, line)
    return scan.found


def line_of(found: Mapping[Location, int], location: Location) -> int:
    """Give the line of a place, or of the nearest place around it; 0 if there is none."""
    for length in range(len(location), 0, -1):
        if location[:length] in found:
            return found[location[:length]]
    return 0


class _Scan:
    def __init__(self) -> None:
        self.found: dict[Location, int] = {}
        self._table: Location = ()
        self._counts: dict[Location, int] = {}
        self._key: Location = ()
        self._depth = 0
        self._element = 0
        self._quote = ""

    def take(self, number: int, line: str) -> None:
        if self._depth or self._quote:
            self._values(number, line)
            return
        header = _HEADER.fullmatch(line)
        if header:
            self._enter(number, header[1], header[2])
            return
        key = _KEY.match(line)
        if key:
            self._key = (*self._table, *_parts(key[1]))
            for length in range(len(self._table) + 1, len(self._key) + 1):
                self.found.setdefault(self._key[:length], number)
            self._element = 0
            self._values(number, key[2])

    def _enter(self, number: int, brackets: str, name: str) -> None:
        location: Location = _parts(name)
        if brackets == "[[":
            index = self._counts.get(location, 0)
            self._counts[location] = index + 1
            self.found.setdefault(location, number)
            location = (*location, index)
        self._table = location
        self.found[location] = number

    def _values(self, number: int, text: str) -> None:
        position = 0
        while position < len(text):
            if self._quote:
                end = text.find(self._quote, position)
                if end < 0:
                    return
                position, self._quote = end + 3, ""
                continue
            token = _STRING.search(text, position)
            self._bare(number, text[position : token.start() if token else len(text)])
            if token is None or token[0].startswith("#"):
                return
            position = token.end()
            self._mark(number, token[0])

    def _bare(self, number: int, text: str) -> None:
        if self._depth == 1 and text.strip():
            self.found.setdefault((*self._key, self._element), number)

    def _mark(self, number: int, mark: str) -> None:
        if mark in {'"""', "'''"}:
            self._quote = mark
        elif mark in "[{":
            self._depth += 1
            if self._depth > 1:
                self.found.setdefault((*self._key, self._element), number)
        elif mark in "]}":
            self._depth -= 1
        elif mark == ",":
            if self._depth == 1:
                self._element += 1
        elif self._depth == 1:
            self.found.setdefault((*self._key, self._element), number)


def _parts(dotted: str) -> Location:
    """Take a dotted key apart by TOML's own rules."""
    try:
        nested: object = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return (dotted.strip(),)
    parts: list[str] = []
    while isinstance(nested, dict):
        name, nested = next(iter(nested.items()))
        parts.append(name)
    return tuple(parts)
