"""A sign: words in a log, who writes them, and which failures they may stand for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sign:
    """What a party writes.

    Args:
        party: who.
        text: the words, ``…`` for what differs from case to case.
        slugs: the failures that it may stand for, the likeliest first.
        vague: whether the words are said of so much that they count only where nothing else in the
            text is known, and are never sure.
        unless: longer words, in lower case, within which these mean something else.
    """

    party: str
    text: str
    slugs: tuple[str, ...]
    vague: bool = False
    unless: tuple[str, ...] = ()

    @property
    def pieces(self) -> tuple[str, ...]:
        """The parts of the words that must all be there, in this order, in lower case."""
        return tuple(item.strip().lower() for item in self.text.split("…") if item.strip())

    @property
    def is_sure(self) -> bool:
        """Whether it stands for one failure and no other."""
        return len(self.slugs) == 1 and not self.vague


def signs(party: str, *rows: tuple[str, str], vague: bool = False) -> tuple[Sign, ...]:
    """Make the signs of a party, of their words and the failures, parted by spaces."""
    return tuple(Sign(party, text, tuple(slugs.split()), vague) for text, slugs in rows)
