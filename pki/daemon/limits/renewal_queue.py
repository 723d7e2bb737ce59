"""Renewals that wait for their turns, where more come than the CA can answer in time.

Workloads that lost the CA come back at once. Whoever waits for longer than its call lasts calls
again, and what was done for the first call was done for nothing: a CA that takes up each call in
the order in which they came may end up answering none in time. So:

1. As many renewals are taken up at once as there are threads for them.
2. Of those that wait, the one whose certificate ends first is next.
3. Whose turn would come too late is told at once when to come back. The times that are told lie as
   far apart as renewals take. When one comes whose certificate ends sooner, the one of those that
   wait whose certificate ends last is told so in its place.
4. Nothing is done for a call that has ended meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from bisect import insort
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from pki.errors import StateError

_PATIENCE_SECONDS = 5.0
"""How long one waits at most: a third of the time that our own clients give a call."""
_SHARE_OF_CALL = 0.5
_FIRST_ESTIMATE, _LEAST_ESTIMATE, _MOST_ESTIMATE = 0.01, 0.0005, 1.0
_WEIGHT_OF_NEWEST = 0.05
_LONGEST_PAUSE, _SHARE_OF_LIFE = 60.0, 0.25


class ComeBackError(StateError):
    """The CA has more to do now than it can do in time.

    Args:
        retry_after: seconds until the caller's turn comes.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the CA is busy: come back in {retry_after:.1f} seconds")
        self.retry_after = retry_after


@dataclass(order=True, slots=True)
class _Waiter:
    # The last one in the list is next: the one whose certificate ends first, and came first.
    order: tuple[float, int]
    turn: asyncio.Future[None] = field(compare=False)
    time_remaining: Callable[[], float | None] = field(compare=False)


class RenewalQueue:
    """The queue of one event loop, in which alone it is used.

    Args:
        places: how many are taken up at once.
        now: returns the time of day.
        monotonic: returns seconds that only grow.
    """

    def __init__(
        self,
        places: int,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = places
        self._now = now
        self._monotonic = monotonic
        self._running = self._number = 0
        self._waiting: list[_Waiter] = []
        # Seconds from the end of one to the end of the next, while others wait.
        self._interval = _FIRST_ESTIMATE
        self._last_end: float | None = None
        self._promised = 0.0
        self.sent_away = 0
        """How many were told to come back."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(
        self, ends_at: datetime, time_remaining: Callable[[], float | None]
    ) -> AsyncIterator[None]:
        """Wait for a turn, and hold it.

        Args:
            ends_at: when the caller's certificate ends.
            time_remaining: returns how many seconds the call has left; None for no deadline.

        Raises:
            ComeBackError: if it would come, or has come, too late.
        """
        if self._running < self._places:
            self._running += 1
        else:
            await self._wait(ends_at, time_remaining)
        try:
            yield
        finally:
            self._end_turn()

    async def _wait(self, ends_at: datetime, time_remaining: Callable[[], float | None]) -> None:
        self._number += 1
        order = (-ends_at.timestamp(), -self._number)
        waiter = _Waiter(order, asyncio.get_running_loop().create_future(), time_remaining)
        insort(self._waiting, waiter)
        self._shorten()
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.turn.done() and not waiter.turn.cancelled() and not waiter.turn.exception():
                # Its turn had come, and nobody else knows.
                self._end_turn()
            raise

    def _shorten(self) -> None:
        """Send those away whose turn would come too late."""
        while self._waiting:
            last = self._waiting[0]
            if len(self._waiting) * self._interval <= _patience(last):
                return
            del self._waiting[0]
            self._send_away(last)

    def _send_away(self, waiter: _Waiter) -> None:
        now = self._monotonic()
        end = now + len(self._waiting) * self._interval
        self._promised = max(self._promised, end) + self._interval
        pause = min(self._promised - now, _LONGEST_PAUSE)
        left = -waiter.order[0] - self._now().timestamp()
        if left > 0:
            # It may call some times more before its certificate ends.
            pause = min(pause, left * _SHARE_OF_LIFE)
        self.sent_away += 1
        if not waiter.turn.done():
            waiter.turn.set_exception(ComeBackError(pause))

    def _end_turn(self) -> None:
        self._running -= 1
        self._measure()
        while self._waiting and self._running < self._places:
            waiter = self._waiting.pop()
            if waiter.turn.done():
                continue
            remaining = waiter.time_remaining()
            if remaining is not None and remaining <= 0:
                self._send_away(waiter)
                continue
            self._running += 1
            waiter.turn.set_result(None)

    def _measure(self) -> None:
        now, before = self._monotonic(), self._last_end
        self._last_end = now if self._waiting else None
        if before is not None:
            newest = min(max(now - before, _LEAST_ESTIMATE), _MOST_ESTIMATE)
            self._interval += (newest - self._interval) * _WEIGHT_OF_NEWEST


def _patience(waiter: _Waiter) -> float:
    remaining = waiter.time_remaining()
    if remaining is None:
        return _PATIENCE_SECONDS
    return min(_PATIENCE_SECONDS, remaining * _SHARE_OF_CALL)
