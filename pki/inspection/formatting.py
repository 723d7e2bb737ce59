"""Formats names, times and durations for people, and escapes text that could deceive."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from pki.errors import quote_untrusted
from pki.inspection.confusables import is_readable

MOST_LISTED = 20
_MOST_LETTERS = 200
_DECODER_DETAILS = re.compile(r"'?(?:error parsing asn1 value: )?ParseError\b.*", re.DOTALL)


def format_list(items: Iterable[str]) -> str:
    """Return names as one text, escaped, and no more of them than a person reads."""
    names = list(items)
    text = ", ".join(quote_if_unsafe(item) for item in names[:MOST_LISTED])
    more = len(names) - MOST_LISTED
    return text + (f", and {more} more" if more > 0 else "") or "-"


def quote_if_unsafe(text: object, *, allow_letters: bool = False) -> str:
    """Return a text as it is if nothing in it can deceive, and quoted and escaped otherwise.

    Args:
        text: the text.
        allow_letters: whether letters of other scripts may stay as they are. DNS names and URIs are
            ASCII (RFC 5280 section 4.2.1.6): in them, any other letter only imitates one.
    """
    value = str(text)
    is_safe = value.isascii() or (allow_letters and is_readable(value))
    if is_safe and value.isprintable() and len(value) <= _MOST_LETTERS:
        return value
    return quote_untrusted(value)


def without_decoder_details(message: str) -> str:
    """Return an error's message without the decoder's own structures, which help no reader."""
    return _DECODER_DETAILS.sub("its encoding is damaged", message)


def format_time(at: datetime, now: datetime) -> str:
    """Return a time, absolute and relative."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC ({format_relative(at, now)})"


def format_relative(at: datetime, now: datetime) -> str:
    """Return how far away a time is."""
    return f"in {format_duration(at - now)}" if at > now else f"{format_duration(now - at)} ago"


def format_relative_briefly(at: datetime, now: datetime) -> str:
    """Return how far away a time is, in few letters: ``in 5m 3s``, ``2h 4m ago``."""
    counts = _in_units(at - now if at > now else now - at)
    text = " ".join(f"{count}{unit[0]}" for count, unit in counts) or "0s"
    return f"in {text}" if at > now else f"{text} ago"


def format_duration(length: timedelta) -> str:
    """Return a duration in its two largest units."""
    counts = _in_units(length)
    return " ".join(f"{count} {unit}{'s' if count > 1 else ''}" for count, unit in counts) or (
        "no time"
    )


def _in_units(length: timedelta) -> list[tuple[int, str]]:
    left = int(length.total_seconds())
    counts = []
    for unit, size in (
        ("year", 31536000),
        ("day", 86400),
        ("hour", 3600),
        ("minute", 60),
        ("second", 1),
    ):
        count, left = divmod(left, size)
        if count:
            counts.append((count, unit))
    return counts[:2]
