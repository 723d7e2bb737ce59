"""Runs logging and counting in a background thread, so that nothing else waits for a log handler.

A log handler is the user's code: it may raise, or block as long as nobody reads a pipe. The threads
that follow credentials and end streams must not wait for it, so they hand their messages over here.
The queue is bounded; messages that find no room are counted, and their number is logged.
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

log = logging.getLogger("handfast")

_MOST_WAITING = 4096
_FLUSH_SECONDS = 1.0

_DROPPED = "%d log messages and counts were dropped: the queue of the background thread was full"
_Step = Callable[[], object]


class _Queue:
    """Runs steps one after the other; no step can end the thread."""

    def __init__(self) -> None:
        self._waiting: deque[_Step] = deque()
        self._dropped = 0
        self._changed = threading.Condition()
        self._busy = False
        self._thread: threading.Thread | None = None

    def put(self, step: _Step) -> None:
        with self._changed:
            if len(self._waiting) >= _MOST_WAITING:
                self._dropped += 1
                return
            self._waiting.append(step)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="handfast-background", daemon=True)
                # This raises where no thread can be started; the next call tries again.
                thread.start()
                self._thread = thread
            self._changed.notify_all()

    def flush(self, seconds: float) -> None:
        if threading.current_thread() is self._thread:
            # A log handler may close a workload: it would wait for itself.
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
                step, dropped = self._waiting.popleft(), self._dropped
                self._dropped, self._busy = 0, True
            if dropped:
                _run_safely(partial(log.error, _DROPPED, dropped))
            _run_safely(step)


def _run_safely(step: _Step) -> None:
    # SystemExit too: a handler that raises it must not end this thread.
    with contextlib.suppress(BaseException):
        step()


class _Current:
    """The queue of this process: threads do not live on in a forked child."""

    def __init__(self) -> None:
        self.queue = _Queue()

    def renew(self) -> None:
        self.queue = _Queue()


_CURRENT = _Current()
os.register_at_fork(after_in_child=_CURRENT.renew)


def defer(step: Callable[..., object], *args: object) -> None:
    """Run a step soon in the background thread; return at once, and raise nothing.

    Args:
        step: logs or counts; what it raises is dropped.
        args: its arguments.
    """
    # No thread can be started while the interpreter ends, or where there are too many.
    with contextlib.suppress(RuntimeError):
        _CURRENT.queue.put(partial(step, *args))


def flush(seconds: float = _FLUSH_SECONDS) -> None:
    """Wait until all steps have run, at most this long."""
    _CURRENT.queue.flush(seconds)


atexit.register(flush)
