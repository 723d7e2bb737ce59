"""Tells of what was done, from a thread of its own: nothing waits for a log.

A log handler is the user's code: it may raise, or block for as long as nobody reads a pipe. What
follows credentials and ends streams must not wait for it, so it hands its words over here and goes
on. The queue is bounded; what has no room is counted, and the count is told.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

log = logging.getLogger("handfast.rpc")

_MOST_WAITING = 4096
_FLUSH_SECONDS = 1.0

_Step = Callable[[], object]


class _Teller:
    """Runs steps one after the other; none of them can end it."""

    def __init__(self) -> None:
        self._waiting: deque[_Step] = deque()
        self._left_out = 0
        self._changed = threading.Condition()
        self._busy = False
        self._thread: threading.Thread | None = None

    def take(self, step: _Step) -> None:
        with self._changed:
            if len(self._waiting) >= _MOST_WAITING:
                self._left_out += 1
                return
            self._waiting.append(step)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="handfast-telling", daemon=True)
                # Where there is no room for a thread it raises; whoever tells next tries again.
                thread.start()
                self._thread = thread
            self._changed.notify_all()

    def flush(self, seconds: float) -> None:
        if threading.current_thread() is self._thread:
            # A log handler that closes a workload: what it waits for is itself.
            return
        with self._changed:
            if self._thread is not None:
                self._changed.wait_for(lambda: not self._waiting and not self._busy, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                step, left_out = self._waiting.popleft(), self._left_out
                self._left_out, self._busy = 0, True
            if left_out:
                _run_safely(partial(log.error, "%d messages were left out", left_out))
            _run_safely(step)


def _run_safely(step: _Step) -> None:
    # SystemExit too: a handler that raises it must not end the thread that tells of everything.
    with contextlib.suppress(BaseException):
        step()


class _Present:
    """The teller of this process: threads don't live on in a forked child."""

    def __init__(self) -> None:
        self.teller = _Teller()

    def renew(self) -> None:
        self.teller = _Teller()


_PRESENT = _Present()
os.register_at_fork(after_in_child=_PRESENT.renew)


def defer(step: Callable[..., object], *args: object) -> None:
    """Have a step run soon, that logs or counts; return at once, and raise nothing.

    Args:
        step: what to run; whatever it raises is dropped.
        args: its arguments.
    """
    # No thread can be started late in the interpreter's end, or where there are too many.
    with contextlib.suppress(RuntimeError):
        _PRESENT.teller.take(partial(step, *args))


def flush(seconds: float = _FLUSH_SECONDS) -> None:
    """Wait until all is told, at most so long."""
    _PRESENT.teller.flush(seconds)


atexit.register(flush)
