"""Which connection a channel's calls use, while credentials and addresses change.

The rules:

1. When our credential changes, or an address or the leaf that was verified there, a new connection
   is made beside the present one. Where our credential changed, the server is probed first: both
   sides often renew together, and one connection is enough then. New calls switch over once the new
   one is ready, or after five seconds, or at once where the present one accepts no more calls.
2. Running calls stay where they began. An old connection is closed when its last call has ended, at
   the latest at the drain limit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from pki.access.refusal import CREDENTIAL_ENDED
from pki.credentials.fork_guard import ForkGuard
from pki.rpc.client.connection import Connection, RotationInputs
from pki.tls.target import Address

_PATIENCE = timedelta(seconds=5)

Inner = TypeVar("Inner")


class Rotation(Generic[Inner]):
    """A channel's connections: the current one for new calls, the next one, and the old ones.

    Args:
        make: makes a connection with the credential in force, to some addresses.
        addresses: the addresses that are known before the server was verified.
        drain: how long calls may run on an old connection; None: until its own or its server's leaf
            expires.
        switched: called with the connection that new calls use no more.
    """

    def __init__(
        self,
        make: Callable[[Collection[Address]], Connection[Inner]],
        addresses: Collection[Address] = (),
        *,
        drain: timedelta | None = None,
        switched: Callable[[Connection[Inner]], None] = lambda _: None,
    ) -> None:
        self._make = make
        self._drain = drain
        self._switched = switched
        self.current = make(addresses)
        self._next: tuple[Connection[Inner], datetime] | None = None
        self._old: list[tuple[Connection[Inner], datetime]] = []
        self._is_closed = False
        self._fork_guard = ForkGuard("channel")
        # A handler of a signal may close the channel in the midst of a call's own step.
        self._lock = threading.RLock()

    def __iter__(self) -> Iterator[Connection[Inner]]:
        """Iterate over the current connection, which may be closed, the next and the old ones."""
        with self._lock:
            return iter(self._all())

    @property
    def is_switching(self) -> bool:
        """Whether a next connection was made but is not used yet: call :meth:`advance` soon."""
        return self._next is not None

    @property
    def is_closed(self) -> bool:
        """Whether the channel was closed."""
        return self._is_closed

    def acquire(self) -> Connection[Inner] | None:
        """Hold the current connection for a new call; return None if there is none now."""
        while True:
            current = self.current
            # Another thread may be closing the channel at this moment.
            if not self._is_closed and current.acquire():
                return current
            if current is self.current:
                # The channel was closed, or the connection ended and has no successor yet.
                return None

    def advance(self, inputs: RotationInputs) -> None:
        """Move to the next connection where one is due, and close old ones.

        Connections whose verification no longer holds are ended first.
        """
        with self._lock:
            if self._is_closed:
                return
            for connection in self._all():
                connection.adopt(inputs)
                connection.check(inputs)
            self._make_next(inputs)
            before = self.current
            has_switched = self._switch_over(inputs.now)
            self._old = [
                item for item in self._old if not self._close_if_drained(*item, inputs.now)
            ]
        if has_switched:
            self._switched(before)

    def states(self) -> list[str]:
        """Return the state of each connection: ``in_use``, ``next`` or ``draining``."""
        with self._lock:
            if self._is_closed:
                return []
            current = [] if self.current.is_over else ["in_use"]
            following = ["next"] if self._next else []
            return [*current, *following, *("draining" for _ in self._old)]

    def stop(self) -> list[Connection[Inner]]:
        """Make no more connections; return the present ones, to be closed."""
        with self._lock:
            self._is_closed = True
        return list(self)

    def close(self) -> None:
        """Close every connection."""
        if not self._fork_guard.in_same_process:
            # After a fork gRPC would wait for a thread that only the parent has.
            return
        with self._lock:
            self._is_closed = True
            for connection in self._all():
                connection.close()
            self._next, self._old = None, []

    def _all(self) -> list[Connection[Inner]]:
        following = [self._next[0]] if self._next else []
        return [self.current, *following, *(old for old, _ in self._old)]

    def _make_next(self, inputs: RotationInputs) -> None:
        newest = self._next[0] if self._next else self.current
        # Nothing can be made with a leaf of ours that has ended, or to a server that is refused.
        if newest.matches(inputs) or inputs.now >= inputs.own_leaf_not_after or inputs.refusal:
            return
        if inputs.awaits_probe and self.current.was_used and not self.current.is_over:
            return
        if self._next:
            self._next[0].close()
        connection = self._make(tuple(inputs.accepted) or tuple(newest.addresses))
        connection.verified = inputs.accepted
        if self._is_closed:
            # Closed in the midst of this step, by a handler of a signal.
            connection.close()
            return
        self._next = (connection, inputs.now)

    def _switch_over(self, now: datetime) -> bool:
        if self._next is None:
            return False
        connection, since = self._next
        if (
            self.current.was_used
            and not self.current.is_over
            and not connection.check_ready(True)
            and now < since + _PATIENCE
        ):
            return False
        self._old.append((self.current, now))
        self.current, self._next = connection, None
        return True

    def _close_if_drained(
        self, connection: Connection[Inner], since: datetime, now: datetime
    ) -> bool:
        """End a connection at the drain limit, close an idle one; return whether it is closed."""
        if self._drain is not None and now >= since + self._drain:
            connection.end(CREDENTIAL_ENDED)
        return connection.close_if_idle()
