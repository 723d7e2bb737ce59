"""One connection of a channel, and what ends it.

The rules:

1. A connection is one channel of gRPC, to the addresses where the server was verified.
2. A call that acquires a connection holds it: it is not closed for being idle between the choice
   and the call. One that ends by rule 3 in between refuses the call, which then takes the next one.
3. A connection ends, even if calls run on it, when it may no longer be trusted: when a leaf with
   which it began (ours or the server's) expires; after a short grace period when the server's chain
   was revoked or lost our trust, so that short calls end well; at once when the server at one of
   its addresses turns out to be another one, or when no address is verified any more. gRPC does not
   say which call runs to which address, so all of them end together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from pki.access.refusal import CREDENTIAL_ENDED, Refusal
from pki.clock import Clock
from pki.rpc.client.failure_explainer import FailureExplainer
from pki.rpc.client.verification import channelz
from pki.tls.target import Address, grpc_name
from pki.x509.peer_chain import PeerChain

# There is one second in all from a revocation list on disk to the end of a stream.
_GRACE_SECONDS = 0.4
# What gRPC's synchronous channels say, in some forms, of a call that they refuse to begin.
_NOT_INVOKED = "Cannot invoke RPC"
CLOSED_CHANNEL = f"{_NOT_INVOKED} on closed channel!"

Inner = TypeVar("Inner")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class RotationInputs:
    """What a channel's connections are checked against at one moment.

    Args:
        version: the version of our credential and trust bundle.
        own_leaf_not_after: the notAfter of our own leaf.
        accepted: the addresses at which the server is verified, with its chain there; empty if it
            must be verified first.
        refusal: why nothing may go to any address, if every probe failed.
        check_chain: checks a chain again that was presented earlier.
        now: the time.
        refusal_at: returns why a probe refused the server at an address; None if none did.
        is_settled: whether no further address is likely to be accepted within a moment.
        awaits_probe: whether our credential changed a moment ago, and a probe is fetching the leaf
            that the server has now.
    """

    version: object
    own_leaf_not_after: datetime
    accepted: Mapping[Address, PeerChain]
    refusal: Refusal | None
    check_chain: Callable[[PeerChain], Refusal | None]
    now: datetime
    refusal_at: Callable[[Address], Refusal | None] = lambda _: None
    is_settled: bool = True
    awaits_probe: bool = False


class Connection(Generic[Inner]):
    """A connection made with one credential to the accepted addresses, and the calls on it.

    Args:
        channel: gRPC's own channel.
        version: the version of our credential and trust bundle that it was made with.
        own_leaf_not_after: the notAfter of our own leaf.
        addresses: the addresses that it goes to.
        clock: returns the time.
        check_ready: returns whether the channel is connected; if called with True, connects it.
        close: closes it.
        explainer: explains why its handshakes fail; None to leave that out.
        grpc_connections: lists gRPC's own connections and their certificates; None if unknown.
        monotonic: returns seconds that only grow.
    """

    def __init__(
        self,
        channel: Inner,
        version: object,
        own_leaf_not_after: datetime,
        *,
        addresses: Collection[Address] = (),
        clock: Clock,
        check_ready: Callable[[bool], bool],
        close: Callable[[], None],
        explainer: FailureExplainer | None = None,
        grpc_connections: channelz.GrpcConnections | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.channel = channel
        self.version = version
        self.explainer = explainer
        self.grpc_connections = grpc_connections
        self.check_ready = check_ready
        self.addresses = frozenset(addresses)
        self.verified: Mapping[Address, PeerChain] = {}
        """The chain that a probe verified at each address; empty while no call may use it."""
        self.presented: Mapping[int, PeerChain] = {}
        """The chain that gRPC was presented on each of its own connections, as far as known."""
        self.may_have_reconnected = True
        self.next_check_at = 0.0
        self.was_used = False
        self.refusal: Refusal | None = None
        """Why it was ended while calls ran on it; None if it was not."""
        self._own_leaf_not_after = own_leaf_not_after
        self._clock = clock
        self._monotonic = monotonic
        self._close = close
        self._running = 0
        self._is_closed = self._is_making = self._must_close = False
        self._grace_began: float | None = None
        self._rejection: Refusal | None = None
        self._was_ready = False
        self._was_dropped = False
        # A handler of a signal may close the channel in the midst of a call's own step.
        self._lock = threading.RLock()

    @property
    def is_closed(self) -> bool:
        """Whether gRPC's channel is closed, or is about to be."""
        return self._is_closed

    @property
    def is_over(self) -> bool:
        """Whether it accepts no more calls."""
        return self._is_closed or self._grace_began is not None or self._rejection is not None

    def chains(self) -> list[PeerChain]:
        """Return the chains to check at each change: of probes, and those gRPC was presented."""
        return [*self.verified.values(), *self.presented.values()]

    def reject(self, refusal: Refusal) -> None:
        """Accept no more calls; the next :meth:`check` ends the connection."""
        with self._lock:
            self._rejection = self._rejection or refusal

    def address_named(self, name: str) -> Address | None:
        """Return the one of its addresses that has a name in gRPC; None if there is none."""
        if len(self.addresses) == 1:
            return next(iter(self.addresses))
        return next((item for item in self.addresses if grpc_name(item) == name), None)

    def acquire(self) -> bool:
        """Hold the connection for a call; return False if it accepts no more calls."""
        with self._lock:
            # As is_over, without a call of it.
            if self._is_closed or self._grace_began is not None or self._rejection is not None:
                return False
            self.was_used = True
            self._running += 1
            return True

    def make_while_open(self, make: Callable[[Inner], Made]) -> Made:
        """Return what a function makes of gRPC's channel, which is not closed meanwhile.

        gRPC's channel ends the process if it is closed when the method of a generated stub is
        looked up there, or just then (grpc/grpc#43455).

        Raises:
            ValueError: if the channel is closed; gRPC's own, for a call.
        """
        with self._lock:
            self._is_making = True
            try:
                if self._is_closed:
                    raise ValueError(CLOSED_CHANNEL)
                return make(self.channel)
            finally:
                self._is_making = False
                if self._must_close:
                    self._must_close = False
                    self._close()

    def refused_to_begin(self, error: ValueError) -> bool:
        """Return whether gRPC sent nothing of a call because the connection is closed."""
        return self._is_closed and str(error).startswith(_NOT_INVOKED)

    def release(self) -> None:
        """Release the connection after a call has ended."""
        with self._lock:
            self._running -= 1
            # Whatever the result of the call: if the connection is not ready now, it was dropped.
            self._was_ready = True

    def adopt(self, inputs: RotationInputs) -> None:
        """Adopt the verified chains, if the connection is older and goes to no other address."""
        accepted = inputs.accepted
        if not self.verified and self.addresses and self.addresses <= accepted.keys():
            self.verified = {address: accepted[address] for address in self.addresses}

    def matches(self, inputs: RotationInputs) -> bool:
        """Return whether a connection made now would be the same."""
        if self.is_over or self.version != inputs.version:
            return False
        accepted = inputs.accepted
        if not accepted:
            return True
        if not self.verified or any(
            address not in accepted or accepted[address].leaf != chain.leaf
            for address, chain in self.verified.items()
        ):
            return False
        return len(accepted) <= len(self.verified) or not inputs.is_settled

    def note_reconnect(self, *, calling: bool) -> bool:
        """Return whether gRPC has connected again since the last call of this method.

        Args:
            calling: whether a call begins now, which makes gRPC connect if it is not connected.
        """
        ready = self.check_ready(False)
        dropped = self._was_dropped or (self._was_ready and not ready)
        reconnected = dropped and (ready or calling)
        self._was_dropped, self._was_ready = dropped and not reconnected, ready
        self.may_have_reconnected |= dropped
        return reconnected

    def check(self, inputs: RotationInputs) -> None:
        """End the connection if its verification no longer holds, or a leaf has expired."""
        if self._is_closed:
            return
        # Check the stored chains first, so that a new probe does not cut short the grace period of
        # running calls.
        invalid = [
            refusal for chain in self.chains() if (refusal := inputs.check_chain(chain)) is not None
        ]
        refused = [
            refusal
            for address in self.verified
            if (refusal := inputs.refusal_at(address)) is not None
        ]
        if self._rejection is not None:
            self.end(self._rejection)
        elif invalid:
            self._end_after_grace(invalid[0])
        elif refused:
            self.end(refused[0])
        elif inputs.refusal is not None:
            self.end(inputs.refusal)
        if self._is_past_its_leaves(inputs.now):
            self.end(CREDENTIAL_ENDED)

    def end_reason(self) -> Refusal | None:
        """Return why it was ended while calls ran on it; None if it was not.

        At the end of a leaf the server may be first: a synchronous server cancels calls without a
        message.
        """
        if self.refusal is None and self._is_past_its_leaves(self._clock()):
            return CREDENTIAL_ENDED
        return self.refusal

    def close_if_idle(self) -> bool:
        """Close the connection if no call runs on it; return whether it is closed."""
        with self._lock:
            if self._is_closed:
                return True
            if self._running:
                return False
            # In one step with the check: a call that chose it a moment ago must not find it closed.
            self._is_closed = True
        self._close()
        return True

    def end(self, refusal: Refusal) -> None:
        """Close the connection even if calls run on it; those calls report the refusal."""
        self.refusal = self.refusal or refusal
        self.close()

    def close(self) -> None:
        """Close the connection even if calls run on it."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            # A handler of a signal may call this amid make_while_open(), which closes it then.
            self._must_close = is_making = self._is_making
        if not is_making:
            self._close()

    def _is_past_its_leaves(self, now: datetime) -> bool:
        return now >= self._own_leaf_not_after or any(
            now > chain.leaf.not_valid_after_utc for chain in self.chains()
        )

    def _end_after_grace(self, refusal: Refusal) -> None:
        with self._lock:
            now = self._monotonic()
            if self._grace_began is None:
                self._grace_began = now
            is_over = not self._running or now >= self._grace_began + _GRACE_SECONDS
        if is_over:
            self.end(refusal)
