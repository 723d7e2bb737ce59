"""What was found in a file: rows for people, facts for scripts, and flags for what stands out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from pki.errors import quote_untrusted
from pki.inspection.confusables import is_readable

MOST_SHOWN = 20
_INTERNALS = re.compile(r"'?(?:error parsing asn1 value: )?ParseError\b.*", re.DOTALL)


class Level(StrEnum):
    """How a flag is meant."""

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Flag:
    """What stands out, in a word or a few."""

    level: Level
    words: str


@dataclass(frozen=True, slots=True)
class Row:
    """A line for people: what, and its value, which is escaped already."""

    label: str
    value: str


@dataclass(slots=True)
class Thing:
    """One object.

    Args:
        kind: what it is.
        title: who or what it is for, escaped.
        facts: for scripts.
        rows: what matters first, for people.
        flags: what stands out.
        text: the rest of it, line by line, for who wants to see all.
        object: what was decoded, for judging several together; None where nothing was.
    """

    kind: str
    title: str = ""
    facts: dict[str, object] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    object: object = None

    def row(self, label: str, value: str) -> None:
        """Add a row."""
        self.rows.append(Row(label, value))

    def flag(self, level: Level, words: str) -> None:
        """Add a flag."""
        self.flags.append(Flag(level, words))


def listed(items: Iterable[str]) -> str:
    """Write names one after the other, escaped, and no more of them than a person reads."""
    found = list(items)
    words = ", ".join(plain(item) for item in found[:MOST_SHOWN])
    more = len(found) - MOST_SHOWN
    return words + (f", and {more} more" if more > 0 else "") or "-"


def plain(text: object, *, letters: bool = False) -> str:
    """Write a text as it is if nothing in it can deceive, and escaped otherwise.

    Args:
        text: what to write.
        letters: whether letters of other scripts may stand in it. DNS names and URIs are ASCII
            (RFC 5280 section 4.2.1.6): there another letter is never what it seems to be.
    """
    words = str(text)
    good = words.isascii() or (letters and is_readable(words))
    return words if good and words.isprintable() and len(words) <= 200 else quote_untrusted(words)


def without_internals(words: str) -> str:
    """Take a decoder's own structures out of an error's words: they tell a person nothing."""
    return _INTERNALS.sub("its encoding is damaged", words)


def moment(at: datetime, now: datetime) -> str:
    """Write a time, absolute and relative."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC ({relative(at, now)})"


def relative(at: datetime, now: datetime) -> str:
    """Write how far away a time is."""
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"


def relative_briefly(at: datetime, now: datetime) -> str:
    """Write how far away a time is, where there is little room: ``in 5m 3s``, ``2h 4m ago``."""
    counts = _in_units(at - now if at > now else now - at)
    words = " ".join(f"{count}{unit[0]}" for count, unit in counts) or "0s"
    return f"in {words}" if at > now else f"{words} ago"


def span(length: timedelta) -> str:
    """Write a span of time in its two largest units."""
    counts = _in_units(length)
    return " ".join(f"{count} {unit}{'s' if count > 1 else ''}" for count, unit in counts) or (
        "no time"
    )


def _in_units(length: timedelta) -> list[tuple[int, str]]:
    left = int(length.total_seconds())
    found = []
    for unit, size in (
        ("year", 31536000),
        ("day", 86400),
        ("hour", 3600),
        ("minute", 60),
        ("second", 1),
    ):
        count, left = divmod(left, size)
        if count:
            found.append((count, unit))
    return found[:2]
