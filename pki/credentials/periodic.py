"""Does a thing again and again, from a thread of its own, however long others take."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pki.background import defer

log = logging.getLogger("handfast.rpc")


class PeriodicTask:
    """Calls a function at each tick, and as soon as it is woken.

    Whatever the function raises is told of, and ends nothing.

    Args:
        seconds: between two ticks.
        tick: the function. It may return the seconds to the next tick, where they are fewer.
        name: the thread's.
    """

    def __init__(self, seconds: float, tick: Callable[[], float | None], name: str) -> None:
        self._seconds = seconds
        self._tick = tick
        self._changed = threading.Condition()
        self._stopped = False
        self._wanted = 0
        self._done = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> int:
        """Have it done now; return the number to wait for with :meth:`wait_done`."""
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()
            return self._wanted

    def wait_done(self, number: int, seconds: float) -> bool:
        """Wait until it was done since a :meth:`wake`; return whether it was in time.

        Its own thread, where a user's clock or source may close everything, does not wait.
        """
        if self.is_current():
            return False
        with self._changed:
            return self._changed.wait_for(lambda: self._done >= number or self._stopped, seconds)

    def is_current(self) -> bool:
        """Return whether this is its thread: it must not wait for itself."""
        return threading.current_thread() is self._thread

    def stop(self, seconds: float) -> None:
        """End, and wait for the thread for so long: what it does may never come back."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.ident is not None and not self.is_current():
            self._thread.join(seconds)

    def _run(self) -> None:
        pause = self._seconds
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._wanted > self._done, pause)
                if self._stopped:
                    return
                number = self._wanted
            pause = self._seconds
            try:
                asked = self._tick()
                pause = self._seconds if asked is None else min(asked, self._seconds)
            except BaseException as error:
                # SystemExit too: this thread must not end before it is told to.
                defer(log.error, "%s failed: %r", self._thread.name, error)
            with self._changed:
                self._done = max(self._done, number)
                self._changed.notify_all()
