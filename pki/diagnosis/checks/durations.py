"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta


def format_duration(length: timedelta) -> str:
    """Return a duration in its largest unit, e.g. ``3 hours``."""
    seconds = int(length.total_seconds())
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
