"""A channel's way to its server: what was seen of it, and the connections to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from pki.access.refusal import OWN_CREDENTIAL_ENDED, Refusal, server_unverified
from pki.clock import Clock
from pki.errors import PkiError
from pki.rpc.client.active_streams import ClientStreams
from pki.rpc.client.failure_explainer import FailureExplainer
from pki.rpc.client.pin import Pin, ServedByCheck
from pki.rpc.client.rotation import Connection, Rotation, RotationInputs
from pki.rpc.client.verification import channelz
from pki.rpc.client.verification.address_checks import AddressChecks
from pki.rpc.client.verification.connection_check import is_due, judge, standings
from pki.rpc.client.verification.probe import look
from pki.rpc.options import ChannelOptions
from pki.tls.target import Address, Target
from pki.x509 import ChainVerifier, Credential

log = logging.getLogger("handfast.rpc")

_LOOK_SECONDS = 5.0

Inner = TypeVar("Inner")


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """Where a channel goes, to whom, and with what.

    Args:
        target: where the server is.
        pin: who it must be.
        served_by: asks the policy before each call.
        credential: gives our credential in force.
        shown: gives what stands for it and the trust bundle, another object after each change.
        verifier: gives the verifier of the trust in force.
        clock: gives the time.
        drain: how long calls may run on an old connection; None has no limit but its leaf's end.
        looked: told the result name (gRFC A118) of each look.
        rotated: called after new calls began to use another connection.
        refused: told of each call that is refused on this side.
        inquiry: finds out why handshakes fail; None where nobody wants to know.
    """

    target: Target
    pin: Pin
    served_by: ServedByCheck
    credential: Callable[[], Credential]
    shown: Callable[[], object]
    verifier: Callable[[], ChainVerifier]
    clock: Clock
    drain: timedelta | None = None
    looked: Callable[[str], None] = lambda _: None
    rotated: Callable[[], None] = lambda: None
    refused: Callable[[Refusal], None] = lambda _: None
    inquiry: FailureExplainer | None = None

    def naming(self, addresses: Collection[Address]) -> tuple[str, channelz.GrpcConnections | None]:
        """Return what gRPC calls some addresses, and what tells of its connections to them.

        While no address is known that is the target itself, which no call goes to.
        """
        if not addresses:
            return self.target.text, None
        name = channelz.NAMES.of(self.target.grpc_target(addresses))
        return name, channelz.GrpcConnections(name)

    def options(self, options: ChannelOptions) -> list[tuple[str, Any]]:
        """Return a channel's options with what makes gRPC go where the looks go, and nowhere else.

        Raises:
            PkiError: if they would undo what a channel promises.
        """
        proxy = self.target.proxy
        return [
            # Of an option that is given twice gRPC takes the first. The proxy is chosen already.
            ("grpc.enable_http_proxy", 0),
            *self.pin.options(options),
            *(proxy.options() if proxy is not None else ()),
            *channelz.OPTIONS,
        ]

    def ends(self) -> datetime:
        """Return the end of our own leaf."""
        return self.credential().leaf.not_valid_after_utc


class ChannelConnections(Generic[Inner]):
    """The sight of a server, the connections to it and their streams, moved on together.

    Args:
        route: where they go.
        make: makes a connection with the credential in force, to some addresses.
        changed: called, from any thread, when :meth:`tick` has something to do.
        swapped: called after new calls began to use another connection.
    """

    def __init__(
        self,
        route: ChannelConfig,
        make: Callable[[Collection[Address]], Connection[Inner]],
        *,
        changed: Callable[[], None],
        swapped: Callable[[], None] = lambda: None,
    ) -> None:
        self._route = route
        self._swapped = swapped
        self.sight = AddressChecks(
            route.pin.spiffe_id,
            route.target,
            lambda address: look(
                route.target.at(address),
                route.pin.dns.name,
                route.credential(),
                route.credential().bundle.roots_of(route.pin.spiffe_id.trust_domain),
                seconds=_LOOK_SECONDS,
            ),
            route.verifier,
            route.clock,
            changed=changed,
            looked=route.looked,
        )
        # Addresses that stand in the target are gone to as soon as they were accepted, all of them.
        known = route.target.addresses() if route.target.is_literal else ()
        self.rotation = Rotation(make, known, drain=route.drain, swapped=self._go_over)
        self.streams = ClientStreams(route.served_by)
        self._shown = route.shown()

    def enter(self) -> Connection[Inner] | None:
        """Take hold of a connection for a call; None if it must wait, or there is none."""
        generation = self.take() if self.sight.accepted else None
        if generation is not None and generation.was_made_anew(calling=True):
            self.sight.look_soon()
        return generation

    def take(self) -> Connection[Inner] | None:
        """Take hold of the connection for a call after the looks; None if there is none now."""
        generation = self.rotation.enter()
        if generation is None or generation.seen:
            return generation
        # Made before the server was seen, and not replaced yet: gRPC chooses where it goes.
        generation.leave()
        return None

    def look(self) -> None:
        """Hold what was seen against what is in force now: the costly part of a tick."""
        self.sight.tick()
        for item in self.rotation:
            if is_due(item):
                judge(item, self.sight)
            for standing in standings(item):
                self.sight.refusal_of(standing)

    def tick(self) -> None:
        """Move the connections on."""
        self.streams.sweep()
        if any(item.was_made_anew(calling=False) for item in self.rotation if not item.is_over):
            self.sight.look_soon()
        shown = self._route.shown()
        if shown is not self._shown:
            # By now the server may have changed its leaf too.
            self._shown = shown
            self.sight.look_soon()
        try:
            self.rotation.tick(
                RotationInputs(
                    shown,
                    self._route.ends(),
                    self.sight.accepted,
                    self.sight.lost,
                    self.sight.refusal_of,
                    self._route.clock(),
                    self.sight.refused_at,
                    self.sight.is_settled,
                )
            )
        except PkiError as error:
            log.warning("channel keeps its credential: %s", error)

    def states(self) -> list[str]:
        """Return a word for each connection, and ``refused`` where no address is accepted."""
        refused = self.sight.lost is not None and not self.rotation.is_closed
        return [*self.rotation.states(), *(["refused"] if refused else [])]

    def _go_over(self, left: Connection[Inner]) -> None:
        self._swapped()
        # The first one to the addresses that were accepted takes no call from another.
        if left.used:
            self._route.rotated()

    def close(self) -> None:
        """Close every connection: whoever owns the channel is done with it."""
        self.rotation.close()
        self.stop("the channel was closed")

    def stop(self, words: str) -> None:
        """Look at the server no more, and let nothing through: nobody would notice what changes."""
        self.sight.close(words)

    def check(self, method: str | bytes) -> Refusal | None:
        """Return why the policy does not let the server answer a call, if it does not."""
        refusal = self._route.served_by.refusal(method)
        if refusal is not None:
            self._route.refused(refusal)
        return refusal

    def turn_away(self) -> Refusal:
        """Return why there is no connection for a call."""
        refusal = self._no_connection()
        self._route.refused(refusal)
        return refusal

    def _no_connection(self) -> Refusal:
        if self.sight.lost is not None:
            return self.sight.lost
        if self._route.clock() >= self._route.ends():
            return OWN_CREDENTIAL_ENDED
        return self.rotation.current.refusal or server_unverified(
            str(self._route.pin.spiffe_id), "UNSPECIFIED", "what was seen of it has just fallen"
        )
