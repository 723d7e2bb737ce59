"""A token bucket: what is limited takes a token, and time refills it."""

from __future__ import annotations


class TokenBucket:
    """A token bucket. Not safe for use by several threads.

    Args:
        burst: how many tokens it holds; it is full at first.
        per_second: how many tokens a second adds.
        now: the time in seconds.
    """

    __slots__ = ("_at", "_burst", "_per_second", "_tokens")

    def __init__(self, burst: int, per_second: float, now: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._tokens = float(burst)
        self._at = now

    def refill(self, now: float) -> bool:
        """Add the tokens of the time that has passed; return whether there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        return self._tokens >= 1

    def take(self) -> None:
        """Take one token."""
        self._tokens -= 1

    def give_back(self) -> None:
        """Put back a token that was taken for nothing."""
        self._tokens = min(self._burst, self._tokens + 1)

    def seconds_until_next(self) -> float:
        """Return how long it takes until there is a token; 0 if there is one."""
        return max(0.0, (1 - self._tokens) / self._per_second)
