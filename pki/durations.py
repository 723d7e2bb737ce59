"""Durations as a policy and the command line write them: ``30s``, ``5m``, ``1h``, ``7d``."""

from __future__ import annotations

import re
from datetime import timedelta

from pki.errors import InputError, quote_untrusted

_DURATION = re.compile(r"(\d{1,10})(s|m|h|d)", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=36525)  # small enough to be added to a date


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as ``30s``, ``5m``, ``1h`` or ``7d``.

    Raises:
        InputError: if it is not a duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InputError(
            f"{quote_untrusted(text)} is no duration",
            remedy="Write a whole number and s, m, h or d: 30s",
        )
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise InputError(
            f"duration {quote_untrusted(text)} is too long", remedy="100 years are the most"
        )
    return timedelta(seconds=seconds)
