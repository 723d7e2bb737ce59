"""Thousands of streams that wait for one change, in the event loops that serve them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

_AT_ONCE = 256


class WaitingStreams:
    """The streams that wait. They are woken some at a time, so that other calls get turns between.

    Safe for use by several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.AbstractEventLoop, set[asyncio.Future[None]]] = {}

    async def wait(self, is_over: Callable[[], bool], seconds: float) -> None:
        """Wait until the next :meth:`wake`, at most so long.

        Args:
            is_over: returns whether what is waited for has come already.
            seconds: how long at most.
        """
        loop = asyncio.get_running_loop()
        # A future and a timer, without a task and an event for each of thousands.
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.setdefault(loop, set()).add(future)
        timer = loop.call_later(seconds, _end, future)
        try:
            # Looked at after it was added: what comes from now on wakes it.
            if not is_over():
                await future
        finally:
            timer.cancel()
            with self._lock:
                futures = self._waiting.get(loop, set())
                futures.discard(future)
                if not futures:
                    self._waiting.pop(loop, None)

    def wake(self) -> None:
        """Wake all that wait; callable from any thread."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for loop, futures in waiting.items():
            loop.call_soon_threadsafe(_end_some, loop, deque(futures))


def _end_some(loop: asyncio.AbstractEventLoop, futures: deque[asyncio.Future[None]]) -> None:
    for _ in range(min(_AT_ONCE, len(futures))):
        _end(futures.popleft())
    if futures:
        loop.call_soon(_end_some, loop, futures)


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
