"""Clocks: functions that return the time, passed as arguments."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the machine's time in UTC, with its time zone. Nothing else reads it."""
    return datetime.now(UTC)
