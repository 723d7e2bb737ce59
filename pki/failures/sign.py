"""A sign: a text in a log, which program writes it, and which failures it may stand for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sign:
    """A text that a program writes when something fails.

    Args:
        party: the program, or the library in it.
        text: the text, with ``…`` for parts that vary.
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


def signs(party: str, *rows: tuple[str, str], vague: bool = False) -> tuple[Sign, ...]:
    """Return signs of one party, each from its text and the slugs of its failures."""
    return tuple(Sign(party, text, tuple(slugs.split()), vague) for text, slugs in rows)
