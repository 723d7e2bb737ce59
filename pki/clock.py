"""Clocks: functions that return the time, passed as arguments."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the machine's time in UTC, with its time zone. Nothing else reads it."""
    return datetime.now(UTC)


def seconds_of(clock: Clock) -> Callable[[], float]:
    """Return a function that returns a clock's time as seconds since 1970, which costs less."""
    return time.time if clock is system_clock else lambda: clock().timestamp()
