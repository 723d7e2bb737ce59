"""Which letters beyond ASCII may be shown as they are, because they imitate no others.

The rules:

1. Only letters and their marks: no control, format, space or symbol beyond ASCII.
2. Nothing that changes the direction of writing, and nothing invisible.
3. A word is of one script, because a mixture is used to deceive ("p\u0430yments"); the scripts of
   East Asian writing count as one.
4. A text is in its simplest form (NFKC): no wide letters, ligatures or loose accents.
"""

from __future__ import annotations

import unicodedata

_INVISIBLE = ("FILLER", "INHERENT", "VARIATION", "JOINER")
_EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"}


def is_readable(text: str) -> bool:
    """Return whether a text of any language may be shown as it is."""
    if unicodedata.normalize("NFKC", text) != text:
        return False
    if not all(item.isascii() or _is_allowed(item) for item in text):
        return False
    return all(_is_of_one_script(word) for word in _words(text))


def _is_allowed(letter: str) -> bool:
    return (
        unicodedata.category(letter)[0] in "LM"
        and unicodedata.bidirectional(letter) in {"L", "NSM"}
        and not any(word in unicodedata.name(letter, "FILLER") for word in _INVISIBLE)
    )


def _words(text: str) -> list[str]:
    """Return the runs of letters and marks."""
    return "".join(item if unicodedata.category(item)[0] in "LM" else " " for item in text).split()


def _is_of_one_script(word: str) -> bool:
    scripts = {unicodedata.name(item, "").partition(" ")[0].partition("-")[0] for item in word}
    return len(scripts) == 1 or scripts <= _EAST_ASIAN
