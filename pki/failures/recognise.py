"""Recognises a failure in an error text from anybody's log.

The text is untrusted: only its first part is read, and each sign is looked for by plain search, so
that no text takes longer than its length allows.
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
        failure: which.
        sign: by what it was recognised, and who writes that.
        sure: whether that sign stands for no other.
    """

    failure: Failure
    sign: Sign
    sure: bool


def recognise(text: str) -> tuple[Match, ...]:
    """Recognise what an error text stands for: the likeliest first; empty if nothing is known.

    Where several signs are found, those whose words are part of another's are left out, a sure one
    comes before the others, and a vague one counts only if there is no other.

    Args:
        text: the text, of which the first 64 Ki characters count.
    """
    folded = " ".join(text[:MAX_TEXT].lower().split())
    all_found = [sign for sign in SIGNS if _stands_in(sign, folded)]
    found = [sign for sign in all_found if not sign.vague] or all_found
    telling = [sign for sign in found if not any(_is_part_of(sign, other) for other in found)]
    # The longer the words, the more they say.
    telling.sort(key=lambda sign: (not sign.is_sure, -len("".join(sign.pieces))))
    matches: dict[str, Match] = {}
    for sign in telling:
        for slug in sign.slugs:
            matches.setdefault(slug, Match(FAILURES[slug], sign, sign.is_sure))
    sure = [item for item in matches.values() if item.sure]
    return tuple(sure or matches.values())


def _stands_in(sign: Sign, text: str) -> bool:
    for words in sign.unless:
        text = text.replace(words, " ")
    at = 0
    for piece in sign.pieces:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


def _is_part_of(sign: Sign, other: Sign) -> bool:
    """Return whether one sign says less of the same words than another that was found."""
    if sign is other:
        return False
    mine, theirs = sign.pieces, other.pieces
    if mine == theirs:
        return False
    whole = " ".join(theirs)
    return all(piece in whole for piece in mine)
