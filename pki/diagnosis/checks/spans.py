"""Spans of time, in words."""

from __future__ import annotations

from datetime import timedelta


def span(length: timedelta) -> str:
    """Write a span of time in its largest unit."""
    seconds = int(length.total_seconds())
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
