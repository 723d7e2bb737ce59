"""Time as an argument: a clock is a function that the caller hands in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the machine's time, aware, in UTC. The one place that reads it."""
    return datetime.now(UTC)
