"""Recognises a failure in an error text from the log of any program.

The text is untrusted: only its first part is read, and each sign is found by plain search, so the
time grows only with the length of the text.
"""

from __future__ import annotations

from dataclasses import dataclass

from pki.failures.failure import Failure
from pki.failures.sign import Sign
from pki.failures.signs import SIGNS
from pki.failures.table import FAILURES

MAX_TEXT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Match:
    """A failure that a text stands for, or may stand for.

    Args:
        failure: the failure.
        sign: the sign by which it was recognised.
        sure: whether the sign stands for no other failure.
    """

    failure: Failure
    sign: Sign
    sure: bool


def recognise(text: str) -> tuple[Match, ...]:
    """Return the failures that an error text stands for, the likeliest first; empty if none is known.

    Of several signs in the text, one whose text is part of another sign is left out, a sure one comes
    before the others, and a vague one counts only if there is no other.

    Args:
        text: the text; only its first 64 Ki characters are read.
    """
    folded = " ".join(text[:MAX_TEXT].lower().split())
    present = [sign for sign in SIGNS if _is_in(sign, folded)]
    clear = [sign for sign in present if not sign.vague] or present
    specific = [sign for sign in clear if not any(_is_part_of(sign, other) for other in clear)]
    # A longer sign is more specific.
    specific.sort(key=lambda sign: (not sign.is_sure, -len("".join(sign.pieces))))
    matches: dict[str, Match] = {}
    for sign in specific:
        for slug in sign.slugs:
            matches.setdefault(slug, Match(FAILURES[slug], sign, sign.is_sure))
    sure = [item for item in matches.values() if item.sure]
    return tuple(sure or matches.values())


def _is_in(sign: Sign, text: str) -> bool:
    for longer in sign.unless:
        text = text.replace(longer, " ")
    at = 0
    for piece in sign.pieces:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


def _is_part_of(sign: Sign, other: Sign) -> bool:
    """Return whether the text of a sign is part of another sign's text."""
    if sign is other:
        return False
    mine, theirs = sign.pieces, other.pieces
    if mine == theirs:
        return False
    whole = " ".join(theirs)
    return all(piece in whole for piece in mine)
