"""Which letters beyond ASCII may be shown as they are, because they can't pass for others.

The rules:

1. Letters and their marks alone: no control, format, space or symbol beyond ASCII.
2. Nothing that turns the direction of writing, and nothing that is not seen.
3. A word is of one script, as who mixes two means to deceive ("p\u0430yments"); the scripts of
   East Asian writing go together.
4. What has a simpler form (NFKC: wide letters, ligatures, loose accents) is not shown in the other.
"""

from __future__ import annotations

import unicodedata

_UNSEEN = ("FILLER", "INHERENT", "VARIATION", "JOINER")
_EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"}


def is_readable(text: str) -> bool:
    """Return whether a text of any language may be shown as it is."""
    if unicodedata.normalize("NFKC", text) != text:
        return False
    if not all(item.isascii() or _may_stand(item) for item in text):
        return False
    return all(_is_of_one_script(word) for word in _words(text))


def _may_stand(letter: str) -> bool:
    return (
        unicodedata.category(letter)[0] in "LM"
        and unicodedata.bidirectional(letter) in {"L", "NSM"}
        and not any(word in unicodedata.name(letter, "FILLER") for word in _UNSEEN)
    )


def _words(text: str) -> list[str]:
    """Return the runs of letters and marks."""
    return "".join(item if unicodedata.category(item)[0] in "LM" else " " for item in text).split()


def _is_of_one_script(word: str) -> bool:
    scripts = {unicodedata.name(item, "").partition(" ")[0].partition("-")[0] for item in word}
    return len(scripts) == 1 or scripts <= _EAST_ASIAN
