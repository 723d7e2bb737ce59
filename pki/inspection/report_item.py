"""The description of one object: rows for people, facts for scripts, and flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """How good or bad a flag is."""

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Flag:
    """A remark on what stands out, in a few words."""

    level: Level
    message: str


@dataclass(frozen=True, slots=True)
class Row:
    """A line for people: a label, and a value that is escaped already."""

    label: str
    value: str


@dataclass(slots=True)
class ReportItem:
    """The description of one certificate, request, key, revocation list or store.

    Args:
        kind: what the object is.
        title: who or what the object is for, escaped.
        facts: its content, for scripts.
        rows: its content for people, the most important first.
        flags: what stands out.
        text: all the rest, line by line.
        object: the decoded object, for the cross-checks; None where nothing was decoded.
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

    def flag(self, level: Level, message: str) -> None:
        """Add a flag."""
        self.flags.append(Flag(level, message))

    def advise(self, remedy: str) -> None:
        """Say what to do with the object, for people and for scripts."""
        self.facts["remedy"] = remedy
        self.row("what to do", remedy)
