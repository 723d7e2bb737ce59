"""The checks of a channel's server, the connections to it and their streams, kept in step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from time import monotonic
from typing import Generic, TypeVar

from cryptography import x509

from pki.access.refusal import OWN_CREDENTIAL_ENDED, Refusal, server_unverified
from pki.credentials.subscriber import Subscriber
from pki.errors import PkiError
from pki.rpc.client.active_streams import ClientStreams
from pki.rpc.client.channel_config import ChannelConfig
from pki.rpc.client.connection import Connection, RotationInputs
from pki.rpc.client.connection_check import check_connection, is_due
from pki.rpc.client.rotation import Rotation
from pki.rpc.client.verification.address_checks import AddressChecks
from pki.rpc.client.verification.probe import probe_server
from pki.rpc.client.verification.server_check import CheckContext
from pki.tls.target import Address

log = logging.getLogger("handfast.rpc")

_PROBE_SECONDS = 5.0
# Asking gRPC whether it is connected costs as much as all else that is done for a call. It takes
# longer than this to make a new connection.
_LOOK_SECONDS = 0.002
# The connection with a new credential waits no longer for the probe of its server.
_PROBED_FIRST_SECONDS = 1.0

Inner = TypeVar("Inner")


class ChannelConnections(Subscriber, Generic[Inner]):
    """The server checks, connections and streams of one channel, which follow every change.

    Args:
        config: where the channel goes, to which server, and with what.
        make: makes a connection with the credential in force, to some addresses.
        changed: called, from any thread, when :meth:`advance` has something to do.
        switched: called when new calls use another connection from now on.
        probe: makes a handshake with the server, as :func:`probe_server`.
    """

    def __init__(
        self,
        config: ChannelConfig,
        make: Callable[[Collection[Address]], Connection[Inner]],
        *,
        changed: Callable[[], None],
        switched: Callable[[], None] = lambda: None,
        probe: Callable[..., tuple[x509.Certificate, ...]] = probe_server,
    ) -> None:
        self._config = config
        self._changed = changed
        self._switched = switched
        self._probe_server = probe
        context = CheckContext(
            config.pin.spiffe_id,
            lambda: config.snapshot().verifier,
            config.clock,
            changed,
            config.on_verification,
        )
        self.checks = AddressChecks(context, config.target, self._probe)
        # Literal addresses are connected to as soon as they are accepted, all of them.
        known = config.target.addresses() if config.target.is_literal else ()
        self.rotation = Rotation(make, known, drain=config.drain, switched=self._note_switch)
        self.streams = ClientStreams(config.served_by)
        self._version = config.snapshot().version
        self._look_again_at = 0.0
        self._changed_at = -_PROBED_FIRST_SECONDS

    def acquire(self) -> Connection[Inner] | None:
        """Hold a connection for a call; return None if the call must wait, or there is none."""
        connection = self.acquire_verified() if self.checks.accepted else None
        if connection is not None and (now := monotonic()) >= self._look_again_at:
            self._look_again_at = now + _LOOK_SECONDS
            if connection.note_reconnect(calling=True):
                self.checks.schedule_probes()
        return connection

    def acquire_verified(self) -> Connection[Inner] | None:
        """Hold the current connection for a call; return None if none is verified now."""
        connection = self.rotation.acquire()
        if connection is None or connection.verified:
            return connection
        # Made before the server was verified, and not replaced yet: gRPC chooses where it goes.
        connection.release()
        return None

    def recheck(self) -> None:
        """Check everything by what is in force now, and advance the connections."""
        self.checks.recheck()
        for connection in self.rotation:
            if is_due(connection):
                check_connection(connection, self.checks)
            # The results are stored with the chains: advance() is on the path of calls.
            for chain in connection.chains():
                self.checks.check_chain(chain)
        self._changed()

    def on_close(self) -> None:
        """End what runs, and refuse later calls: the workload was closed."""
        self.checks.close("the Workload of this channel was closed")
        self._changed()

    def advance(self) -> None:
        """Advance the connections: a short step, done by calls too."""
        self.streams.recheck()
        if any(item.note_reconnect(calling=False) for item in self.rotation if not item.is_over):
            self.checks.schedule_probes()
        snapshot = self._config.snapshot()
        if snapshot.version != self._version:
            # The server may have changed its leaf too by now.
            self._version, self._changed_at = snapshot.version, monotonic()
            self.checks.probe_again()
        awaits_probe = (
            monotonic() < self._changed_at + _PROBED_FIRST_SECONDS and self.checks.awaits_probe()
        )
        try:
            self.rotation.advance(
                RotationInputs(
                    snapshot.version,
                    snapshot.credential.leaf.not_valid_after_utc,
                    self.checks.accepted,
                    self.checks.refusal,
                    self.checks.check_chain,
                    self._config.clock(),
                    self.checks.refusal_at,
                    self.checks.is_settled,
                    awaits_probe,
                )
            )
        except PkiError as error:
            log.warning(
                "the channel to %s keeps its old connection and credential: %s",
                self._config.pin.spiffe_id,
                error,
            )

    def states(self) -> list[str]:
        """Return the state of each connection, and ``refused`` where no address is accepted."""
        refused = self.checks.refusal is not None and not self.rotation.is_closed
        return [*self.rotation.states(), *(["refused"] if refused else [])]

    def close(self) -> None:
        """Close every connection: the owner of the channel closed it."""
        self.rotation.close()
        self.checks.close("the channel was closed")

    def refuse_by_policy(self, method: str | bytes) -> Refusal | None:
        """Return why the server may not answer a method, and count it; None if it may."""
        refusal = self._config.served_by.refusal(method)
        if refusal is not None:
            self._config.on_refused_call(refusal)
        return refusal

    def refuse_without_connection(self) -> Refusal:
        """Return why there is no connection for a call, and count it."""
        refusal = self._no_connection()
        self._config.on_refused_call(refusal)
        return refusal

    def _probe(self, address: Address) -> tuple[x509.Certificate, ...]:
        pin, credential = self._config.pin, self._config.snapshot().credential
        return self._probe_server(
            self._config.target.at(address),
            pin.dns.name,
            credential,
            credential.bundle.roots_of(pin.spiffe_id.trust_domain),
            seconds=_PROBE_SECONDS,
        )

    def _note_switch(self, before: Connection[Inner]) -> None:
        self._switched()
        # The first connection to accepted addresses takes over from one that no call used.
        if before.was_used:
            self._config.on_rotation()

    def _no_connection(self) -> Refusal:
        if self.checks.refusal is not None:
            return self.checks.refusal
        if self._config.clock() >= self._config.own_leaf_not_after():
            return OWN_CREDENTIAL_ENDED
        return self.rotation.current.refusal or server_unverified(
            str(self._config.pin.spiffe_id),
            "UNSPECIFIED",
            "its certificate was refused a moment ago, and is being verified again",
        )
