"""Runs a function again and again in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pki.background import defer

log = logging.getLogger("handfast.credentials")


class PeriodicTask:
    """Calls a function at regular intervals, and at once when it is woken.

    What the function raises is logged, and does not end the task.

    Args:
        seconds: the interval.
        run: the function. It may return a shorter interval to its next run.
        name: the name of the thread.
    """

    def __init__(self, seconds: float, run: Callable[[], float | None], name: str) -> None:
        self._seconds = seconds
        self._step = run
        self._changed = threading.Condition()
        self._stopped = False
        self._requested = 0
        self._done = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> int:
        """Run the function now, in its thread; return a number for :meth:`wait_done`."""
        with self._changed:
            self._requested += 1
            self._changed.notify_all()
            return self._requested

    def wait_done(self, number: int, seconds: float) -> bool:
        """Wait until the function has run since a :meth:`wake`; return whether it was in time.

        The task's own thread does not wait: a user's clock or source may close the workload there.
        """
        if self.is_current():
            return False
        with self._changed:
            return self._changed.wait_for(lambda: self._done >= number or self._stopped, seconds)

    def is_current(self) -> bool:
        """Return whether the caller runs in the task's own thread, which can't wait for itself."""
        return threading.current_thread() is self._thread

    def stop(self, seconds: float) -> None:
        """Stop the thread, and wait for it this long: the function may never return."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.ident is not None and not self.is_current():
            self._thread.join(seconds)

    def _run(self) -> None:
        pause = self._seconds
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._requested > self._done, pause)
                if self._stopped:
                    return
                number = self._requested
            pause = self._seconds
            try:
                shorter = self._step()
                pause = self._seconds if shorter is None else min(shorter, self._seconds)
            except BaseException as error:
                # SystemExit too: the thread must not end before it is stopped.
                defer(log.error, "%s failed: %r", self._thread.name, error)
            with self._changed:
                self._done = max(self._done, number)
                self._changed.notify_all()
