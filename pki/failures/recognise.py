"""Recognises a failure in an error text from the log of any program.

The rules:

1. The text is untrusted: only its first part is read, and a sign spans no more than one value
   between its words, so the time grows only with the length of the text.
2. A sign within a longer one counts only where it also stands alone.
3. A sign that may mean all that a narrower one means, and more, adds nothing to it.
4. What points elsewhere stays beside a sure sign. A failure is sure only if nothing else is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pki.failures.failure import Failure
from pki.failures.sign import Sign
from pki.failures.signs import SIGNS
from pki.failures.table import FAILURES

MAX_TEXT = 64 * 1024
# It says that something failed, and not what: any other sign says more.
_WITHOUT_CAUSE = "closed-without-reason"
# Colours of a terminal, and what JSON and Go's %q write for the ends of lines and quotes.
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,20}m")
_WRITTEN_SPACE = re.compile(r"\\+[nrt]")
_WRITTEN_QUOTE = re.compile(r"\\+([\"'])")


@dataclass(frozen=True, slots=True)
class Match:
    """A failure that a text stands for, or may stand for.

    Args:
        failure: the failure.
        sign: the sign by which it was recognised.
        sure: whether the text stands for no other failure.
    """

    failure: Failure
    sign: Sign
    sure: bool


def recognise(text: str) -> tuple[Match, ...]:
    """Return the failures that an error text stands for, the likeliest first; empty if none is known.

    Args:
        text: the text; only its first 64 Ki characters are read.
    """
    folded = _fold(text[:MAX_TEXT])
    clear = _standing_alone(folded, (sign for sign in SIGNS if not sign.vague))
    present = clear or _standing_alone(folded, (sign for sign in SIGNS if sign.vague))
    named = [sign for sign in present if sign.slugs[0] != _WITHOUT_CAUSE] or present
    narrow = [sign for sign in named if not any(_is_narrower(other, sign) for other in named)]
    # A longer sign is more specific.
    narrow.sort(key=lambda sign: (not sign.is_sure, -len("".join(sign.pieces))))
    signs = {slug: sign for sign in reversed(narrow) for slug in reversed(sign.slugs)}
    slugs = dict.fromkeys(slug for sign in narrow for slug in sign.slugs)
    sure = len(slugs) == 1 and narrow[0].is_sure
    return tuple(Match(FAILURES[slug], signs[slug], sure) for slug in slugs)


def _fold(text: str) -> str:
    """Return a text in lower case, with one space between words, as if a person had typed it."""
    text = _WRITTEN_SPACE.sub(" ", _COLOUR.sub("", text))
    return " ".join(_WRITTEN_QUOTE.sub(r"\1", text).lower().split())


def _standing_alone(text: str, signs: Iterable[Sign]) -> list[Sign]:
    """Return the signs in a text that stand at least once outside every longer sign."""
    places = [(begin, -end, sign) for sign in signs for begin, end in sign.find(text)]
    places.sort(key=lambda place: place[:2])
    alone: dict[Sign, None] = {}
    widest = (0, 0)
    for begin, negative_end, sign in places:
        end = -negative_end
        if end > widest[1]:
            widest = (begin, end)
        if (begin, end) == widest:
            alone[sign] = None
    return list(alone)


def _is_narrower(sign: Sign, other: Sign) -> bool:
    """Return whether a sign means only a part of what another may mean."""
    return set(sign.slugs) < set(other.slugs)
