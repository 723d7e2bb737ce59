"""A sign: a text in a log, which program writes it, and which failures it may stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

# What varies in a text is one value: a name, an address, a number. It holds no space, so that a
# sign never joins words of two sentences.
_VALUE = r"\S{0,300}?"


@dataclass(frozen=True, slots=True)
class Sign:
    """A text that a program writes when something fails.

    Args:
        party: the program, or the library in it.
        text: the text, with ``…`` for a value that varies: at most 300 characters without a space.
        slugs: the failures that it may stand for, the likeliest first.
        vague: whether the text is so general that it counts only where no other sign is known, and
            is never sure.
        unless: longer texts, in lower case, that contain this one and mean something else.
    """

    party: str
    text: str
    slugs: tuple[str, ...]
    vague: bool = False
    unless: tuple[str, ...] = ()

    @property
    def pieces(self) -> tuple[str, ...]:
        """The parts of the text that must all be there, in this order, in lower case."""
        return tuple(item.strip().lower() for item in self.text.split("…") if item.strip())

    @property
    def is_sure(self) -> bool:
        """Whether the sign stands for one failure and no other."""
        return len(self.slugs) == 1 and not self.vague

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Return where the sign is in a text: the begin and the end of each place.

        A word counts only as a whole: ``ENOTFOUND`` is not in ``FileNotFoundError``.

        Args:
            text: the text, in lower case, with one space between words.
        """
        if not all(piece in text for piece in self.pieces):
            return
        longer = [place for item in self.unless for place in _places(re.escape(item), text)]
        for begin, end in _places(_pattern(self.text), text):
            if not any(first <= begin and end <= last for first, last in longer):
                yield begin, end


def signs(party: str, *rows: tuple[str, str], vague: bool = False) -> tuple[Sign, ...]:
    """Return signs of one party, each from its text and the slugs of its failures."""
    return tuple(Sign(party, text, tuple(slugs.split()), vague) for text, slugs in rows)


def _places(pattern: str, text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in re.finditer(pattern, text))


@cache
def _pattern(text: str) -> str:
    """Return the pattern of a sign's text: whole words, and values between them."""
    whole = _VALUE.join(re.escape(piece) for piece in text.lower().split("…"))
    # An underscore parts words: TLSV1_ALERT_UNKNOWN_CA holds ALERT_UNKNOWN_CA.
    before = r"(?<![a-z0-9])" if text[0].isalnum() else ""
    after = r"(?![a-z0-9])" if text[-1].isalnum() else ""
    return before + whole + after
