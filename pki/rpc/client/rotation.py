"""Which connection a channel's calls use, while credentials change under it.

The rules:

1. A connection is one channel of gRPC's, to the addresses where the server was accepted. When our
   credential is another, or an address or the leaf seen there, a new connection is made beside
   it, and new calls go over once it is ready, or after five seconds, or at once where the old one
   takes no more calls.
2. Calls that run stay where they began. An old connection is closed when its last call has ended,
   at the latest at the drain limit.
3. A connection ends with its proof, whatever runs on it: when the leaf that either side began with
   has ended; a moment after the server's was revoked or lost our trust, so that short calls end
   well; at once when the server at one of its addresses is found to be another, or none is found at
   any. gRPC does not tell which call runs to which address, so they end together.
4. A call that takes a connection holds it: none is closed between the choice and the call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from pki.access.refusal import CREDENTIAL_ENDED, Refusal
from pki.clock import Clock
from pki.credentials.fork_guard import ForkGuard
from pki.rpc.client.failure_explainer import FailureExplainer
from pki.rpc.client.verification import channelz
from pki.tls.target import Address, grpc_name
from pki.x509.peer_chain import PeerChain

_PATIENCE = timedelta(seconds=5)
# The whole way from a revocation list on disk to the end of a stream has a second.
_LAST_CALLS_SECONDS = 0.4

Inner = TypeVar("Inner")


@dataclass(frozen=True, slots=True)
class RotationInputs:
    """What a channel's connections are held against.

    Args:
        shown: stands for our credential; another object is another credential.
        ends: the end of its leaf.
        accepted: the addresses at which the server was seen and stands, with its chain there; empty
            if it must be seen first.
        lost: why nothing may go to any address, if each look failed.
        refusal_of: judges a chain that was seen earlier.
        now: the time.
        refused_at: tells why a look refused the server at an address, if it did.
        is_settled: whether no further address is likely to be accepted within a moment.
    """

    shown: object
    ends: datetime
    accepted: Mapping[Address, PeerChain]
    lost: Refusal | None
    refusal_of: Callable[[PeerChain], Refusal | None]
    now: datetime
    refused_at: Callable[[Address], Refusal | None] = lambda _: None
    is_settled: bool = True


class Connection(Generic[Inner]):
    """A connection made with one credential to the accepted addresses, and the calls on it.

    Args:
        channel: gRPC's own channel.
        addresses: those that it goes to.
        shown: stands for our credential.
        ends: the end of its leaf.
        clock: gives the time.
        is_ready: tells whether it is connected; given True it has it connect if it is not.
        close: closes it.
        inquiry: finds out why its handshakes fail; None where nobody wants to know.
        connections: tells what gRPC's own connections were shown; None where that isn't asked.
    """

    def __init__(
        self,
        channel: Inner,
        shown: object,
        ends: datetime,
        *,
        addresses: Collection[Address] = (),
        clock: Clock,
        is_ready: Callable[[bool], bool],
        close: Callable[[], None],
        inquiry: FailureExplainer | None = None,
        connections: channelz.GrpcConnections | None = None,
    ) -> None:
        self.channel = channel
        self.inquiry = inquiry
        self.connections = connections
        self.shown = shown
        self.is_ready = is_ready
        self.addresses = frozenset(addresses)
        self.seen: Mapping[Address, PeerChain] = {}
        """What was seen at each of its addresses; empty where nothing may go to it yet."""
        self.shown_on: Mapping[int, PeerChain] = {}
        """What gRPC was shown on each of its connections, as far as that is known."""
        self.has_new_connection = True
        self.next_judged_at = 0.0
        self.used = False
        self.refusal: Refusal | None = None
        """Why it was ended under the calls that ran on it; None if it was not."""
        self._ends = ends
        self._clock = clock
        self._close = close
        self._running = 0
        self._closed = False
        self._doomed_at: float | None = None
        self._condemned: Refusal | None = None
        self._was_ready = False
        self._dropped = False
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether it takes no more calls."""
        return self._closed or self._doomed_at is not None or self._condemned is not None

    def condemn(self, refusal: Refusal) -> None:
        """Let no call on it any more, and have the next :meth:`judge` end it."""
        with self._lock:
            self._condemned = self._condemned or refusal

    def address_named(self, name: str) -> Address | None:
        """Return the one of its addresses that gRPC calls so; None if there is none."""
        if len(self.addresses) == 1:
            return next(iter(self.addresses))
        return next((item for item in self.addresses if grpc_name(item) == name), None)

    def enter(self) -> bool:
        """Take hold of it for a call; False if it takes no more."""
        with self._lock:
            if self._closed or self._doomed_at is not None or self._condemned is not None:
                return False
            self.used = True
            self._running += 1
            return True

    def leave(self) -> None:
        """Let go of it: the call has ended."""
        with self._lock:
            self._running -= 1
            # Whatever came of the call: if it is not ready after this, it was dropped.
            self._was_ready = True

    def adopt(self, situation: RotationInputs) -> None:
        """Take what was seen for its own, if it was made before that and goes nowhere else."""
        accepted = situation.accepted
        if not self.seen and self.addresses and self.addresses <= accepted.keys():
            self.seen = {address: accepted[address] for address in self.addresses}

    def is_for(self, situation: RotationInputs) -> bool:
        """Whether a connection made now would be the same."""
        if self.is_over or self.shown is not situation.shown:
            return False
        accepted = situation.accepted
        if not accepted:
            return True
        if not self.seen or any(
            address not in accepted or accepted[address].leaf != standing.leaf
            for address, standing in self.seen.items()
        ):
            return False
        return len(accepted) <= len(self.seen) or not situation.is_settled

    def was_made_anew(self, *, calling: bool) -> bool:
        """Return whether it was dropped since it was ready, and is there again.

        Args:
            calling: whether a call begins now, which connects it again if it is not.
        """
        ready = self.is_ready(False)
        dropped = self._dropped or (self._was_ready and not ready)
        anew = dropped and (ready or calling)
        self._dropped, self._was_ready = dropped and not anew, ready
        self.has_new_connection |= dropped
        return anew

    def judge(self, situation: RotationInputs) -> None:
        """End it if its proof has ended."""
        if self._closed:
            return
        # What was seen here comes first: a look that finds the same takes no call its last moment.
        fallen = [
            refusal
            for standing in (*self.seen.values(), *self.shown_on.values())
            if (refusal := situation.refusal_of(standing)) is not None
        ]
        refused = [
            refusal
            for address in self.seen
            if (refusal := situation.refused_at(address)) is not None
        ]
        if self._condemned is not None:
            self.end(self._condemned)
        elif fallen:
            self._doom(fallen[0])
        elif refused:
            self.end(refused[0])
        elif situation.lost is not None:
            self.end(situation.lost)
        if self._is_past_its_leaves(situation.now):
            self.end(CREDENTIAL_ENDED)

    def why_ended(self) -> Refusal | None:
        """Return why it was ended under its calls; None if it was not.

        At the end of a leaf the server may be first: a synchronous one cancels calls without a
        word.
        """
        if self.refusal is None and self._is_past_its_leaves(self._clock()):
            return CREDENTIAL_ENDED
        return self.refusal

    def _is_past_its_leaves(self, now: datetime) -> bool:
        return now >= self._ends or any(
            now > standing.leaf.not_valid_after_utc
            for standing in (*self.seen.values(), *self.shown_on.values())
        )

    def close_if_idle(self) -> bool:
        """Close it if no call runs on it; tell whether it is closed."""
        with self._lock:
            if self._closed:
                return True
            if self._running:
                return False
            # In one step with the look: a call that chose it a moment ago must not find it closed.
            self._closed = True
        self._close()
        return True

    def end(self, refusal: Refusal) -> None:
        """Close it, whatever runs on it, and have those calls read why."""
        self.refusal = self.refusal or refusal
        self.close()

    def close(self) -> None:
        """Close it, whatever runs on it."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._close()

    def _doom(self, refusal: Refusal) -> None:
        with self._lock:
            if self._doomed_at is None:
                self._doomed_at = time.monotonic()
            over = not self._running or time.monotonic() >= self._doomed_at + _LAST_CALLS_SECONDS
        if over:
            self.end(refusal)


class Rotation(Generic[Inner]):
    """A channel's connections: the one for new calls, the next one, and the old ones.

    Args:
        make: makes a connection with the credential in force, to some addresses.
        addresses: those that are known before the server was seen.
        drain: how long calls may run on an old connection; None has no limit but its leaf's end.
        swapped: called with the connection that new calls have left for another.
    """

    def __init__(
        self,
        make: Callable[[Collection[Address]], Connection[Inner]],
        addresses: Collection[Address] = (),
        *,
        drain: timedelta | None = None,
        swapped: Callable[[Connection[Inner]], None] = lambda _: None,
    ) -> None:
        self._make = make
        self._drain = drain
        self._swapped = swapped
        self.current = make(addresses)
        self._next: tuple[Connection[Inner], datetime] | None = None
        self._old: list[tuple[Connection[Inner], datetime]] = []
        self._closed = False
        self._here = ForkGuard("channel")
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Connection[Inner]]:
        """Return every connection that is not closed."""
        with self._lock:
            following = [self._next[0]] if self._next else []
            return iter([self.current, *following, *(item for item, _ in self._old)])

    def enter(self) -> Connection[Inner] | None:
        """Take hold of the connection for a new call; None if there is none now."""
        while True:
            found = self.current
            # Whoever owns the channel may be closing it at this moment, call by call.
            if not self._closed and found.enter():
                return found
            if found is self.current:
                # Closed by whoever owns the channel, or ended and not replaced yet.
                return None

    @property
    def is_going_over(self) -> bool:
        """Whether a connection has begun that is to take over: look again soon whether it can."""
        return self._next is not None

    @property
    def is_closed(self) -> bool:
        """Whether whoever owns the channel has closed it."""
        return self._closed

    def tick(self, situation: RotationInputs) -> None:
        """Go on: end what has lost its proof, begin a connection, go over to it, close the old."""
        with self._lock:
            if self._closed:
                return
            following = [self._next[0]] if self._next else []
            for item in (self.current, *following, *(old for old, _ in self._old)):
                item.adopt(situation)
                item.judge(situation)
            self._begin(situation)
            left = self.current
            swapped = self._go_over(situation.now)
            self._old = [item for item in self._old if not self._is_drained(*item, situation.now)]
        if swapped:
            self._swapped(left)

    def states(self) -> list[str]:
        """Return a word for each connection: ``in_use``, ``next`` or ``draining``."""
        with self._lock:
            if self._closed:
                return []
            using = [] if self.current.is_over else ["in_use"]
            following = ["next"] if self._next else []
            return [*using, *following, *("draining" for _ in self._old)]

    def take_no_more(self) -> list[Connection[Inner]]:
        """Begin no connection any more; give those that there are, to be closed."""
        with self._lock:
            self._closed = True
        return list(self)

    def close(self) -> None:
        """Close every connection."""
        if not self._here.still:
            # After a fork gRPC would wait for a thread that stayed in the parent.
            return
        with self._lock:
            self._closed = True
            following = [self._next[0]] if self._next else []
            for item in (self.current, *following, *(old for old, _ in self._old)):
                item.close()
            self._next, self._old = None, []

    def _begin(self, situation: RotationInputs) -> None:
        newest = self._next[0] if self._next else self.current
        # With a leaf of ours that has ended, or a server that is lost, nothing can be begun.
        if newest.is_for(situation) or situation.now >= situation.ends or situation.lost:
            return
        if self._next:
            self._next[0].close()
        made = self._make(tuple(situation.accepted) or tuple(newest.addresses))
        made.seen = situation.accepted
        self._next = (made, situation.now)

    def _go_over(self, now: datetime) -> bool:
        if self._next is None:
            return False
        made, since = self._next
        if (
            self.current.used
            and not self.current.is_over
            and not made.is_ready(True)
            and now < since + _PATIENCE
        ):
            return False
        self._old.append((self.current, now))
        self.current, self._next = made, None
        return True

    def _is_drained(self, item: Connection[Inner], since: datetime, now: datetime) -> bool:
        if self._drain is not None and now >= since + self._drain:
            item.end(CREDENTIAL_ENDED)
        return item.close_if_idle()
