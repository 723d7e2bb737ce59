"""Threads in which each caller has one operation at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from pki.daemon.limits.budgets import BudgetExhaustedError

_RETRY_SECONDS = 1.0


class OneEach:
    """A few threads that no caller can fill alone.

    Args:
        threads: how many threads.
        name: what their names begin with.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, name)
        self._lock = threading.Lock()
        self._running: set[str] = set()

    def of(self, key: str) -> Executor:
        """Return the threads for one caller. While its operation runs, another one is refused."""
        return _OfOne(self, key)

    def submit(self, key: str, work: Callable[[], Any]) -> Future[Any]:
        """Run an operation of a caller.

        Raises:
            BudgetExhaustedError: if one runs, or waits for a thread.
        """
        with self._lock:
            if key in self._running:
                raise BudgetExhaustedError(_RETRY_SECONDS)
            self._running.add(key)
        try:
            future = self._pool.submit(work)
        except BaseException:
            self._end(key)
            raise
        # Of the future and not of the call: who hangs up does not free its place before the end.
        future.add_done_callback(lambda _: self._end(key))
        return future

    def shutdown(self) -> None:
        """End the threads, after what they do now."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _end(self, key: str) -> None:
        with self._lock:
            self._running.discard(key)


class _OfOne(Executor):
    def __init__(self, pool: OneEach, key: str) -> None:
        self._of = pool
        self._key = key

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._of.submit(self._key, lambda: fn(*args, **kwargs))
