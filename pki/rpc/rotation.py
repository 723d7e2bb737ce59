"""Which connection a channel's calls use, while credentials change under it.

The rules:

1. A channel's first connection is made with the credential in force. When another one comes, a new
   connection is made beside it, and new calls go over once it is ready, or after five seconds, or
   at once where the old one was never used.
2. Calls that run stay where they began. An old connection is closed when its last call has ended,
   at the latest when the leaf that it was made with has ended.
3. A call that takes a connection holds it: none is closed between the choice and the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

_PATIENCE = timedelta(seconds=5)

Inner = TypeVar("Inner")


class Generation(Generic[Inner]):
    """A connection made with one credential, and the calls that run on it.

    Args:
        channel: gRPC's own channel.
        shown: stands for the credential; another object is another credential.
        ends: the end of its leaf.
        is_ready: tells whether it is connected.
        close: closes it.
    """

    def __init__(
        self,
        channel: Inner,
        shown: object,
        ends: datetime,
        is_ready: Callable[[], bool],
        close: Callable[[], None],
    ) -> None:
        self.channel = channel
        self.shown = shown
        self.ends = ends
        self.is_ready = is_ready
        self.used = False
        self._close = close
        self._running = 0
        self._closed = False
        self._lock = threading.Lock()

    def enter(self) -> bool:
        """Take hold of it for a call; False if it was closed already."""
        with self._lock:
            if self._closed:
                return False
            self.used = True
            self._running += 1
            return True

    def leave(self) -> None:
        """Let go of it: the call has ended."""
        with self._lock:
            self._running -= 1

    def close_if_over(self, now: datetime) -> bool:
        """Close it if no call runs on it, or its leaf has ended; tell whether it is closed."""
        with self._lock:
            if self._running and now < self.ends:
                return False
            self._closed = True
        self._close()
        return True

    def close(self) -> None:
        """Close it, whatever runs on it."""
        with self._lock:
            self._closed = True
        self._close()


class Rotation(Generic[Inner]):
    """A channel's connections: the one for new calls, the next one, and the old ones.

    Args:
        make: makes a connection with the credential in force.
        swapped: called after new calls began to use another connection.
    """

    def __init__(
        self, make: Callable[[], Generation[Inner]], swapped: Callable[[], None] = lambda: None
    ) -> None:
        self._make = make
        self._swapped = swapped
        self.current = make()
        self._next: tuple[Generation[Inner], datetime] | None = None
        self._old: list[Generation[Inner]] = []
        self._closed = False
        self._lock = threading.Lock()

    def enter(self) -> Generation[Inner]:
        """Take hold of the connection for a new call."""
        while True:
            found = self.current
            if found.enter():
                return found
            if found is self.current:
                # Closed by whoever owns the channel: gRPC's own error tells the caller.
                return found

    def tick(self, shown: object, now: datetime) -> None:
        """Go on: begin a connection for a new credential, go over to it, close what is over."""
        with self._lock:
            if self._closed:
                return
            self._begin(shown, now)
            swapped = self._go_over(now)
            self._old = [item for item in self._old if not item.close_if_over(now)]
        if swapped:
            self._swapped()

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            self._closed = True
            waiting = [self._next[0]] if self._next else []
            for item in (self.current, *waiting, *self._old):
                item.close()
            self._next, self._old = None, []

    def _begin(self, shown: object, now: datetime) -> None:
        newest = self._next[0] if self._next else self.current
        if newest.shown is shown:
            return
        if self._next:
            self._next[0].close()
        self._next = (self._make(), now)

    def _go_over(self, now: datetime) -> bool:
        if self._next is None:
            return False
        made, since = self._next
        if self.current.used and not made.is_ready() and now < since + _PATIENCE:
            return False
        self._old.append(self.current)
        self.current, self._next = made, None
        return True
