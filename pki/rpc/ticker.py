"""Does a thing several times a second, from a thread of its own, however long others take."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Ticker:
    """Calls a function at each tick.

    Args:
        seconds: between two ticks.
        tick: the function; it raises nothing.
        name: the thread's.
    """

    def __init__(self, seconds: float, tick: Callable[[], None], name: str) -> None:
        self._seconds = seconds
        self._tick = tick
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread."""
        self._stop.set()
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._tick()
