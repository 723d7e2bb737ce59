"""What a channel is made with: its server, the policy, and what is in force."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pki.access.refusal import Refusal
from pki.clock import Clock
from pki.credentials.snapshot import Snapshot
from pki.rpc.client.failure_explainer import FailureExplainer
from pki.rpc.client.pin import Pin
from pki.rpc.client.served_by import ServedByCheck
from pki.rpc.client.verification import channelz
from pki.rpc.options import ChannelOptions
from pki.tls.target import Address, Target


def _ignore(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """Where a channel goes, to which server, and with what.

    Args:
        target: where the server is.
        pin: who the server must be.
        served_by: asks the policy before each call.
        snapshot: returns what is in force.
        clock: returns the time.
        drain: how long calls may run on an old connection; None: until its own or its server's leaf
            expires.
        on_verification: called with the result name (gRFC A118) of each verification of the server.
        on_rotation: called when new calls use another connection from now on.
        on_refused_call: called with the refusal of each call that is refused on this side.
        explainer: explains why handshakes fail; None to leave that out.
    """

    target: Target
    pin: Pin
    served_by: ServedByCheck
    snapshot: Callable[[], Snapshot]
    clock: Clock
    drain: timedelta | None = None
    on_verification: Callable[[str], None] = _ignore
    on_rotation: Callable[[], None] = _ignore
    on_refused_call: Callable[[Refusal], None] = _ignore
    explainer: FailureExplainer | None = None

    def grpc_target(
        self, addresses: Collection[Address]
    ) -> tuple[str, channelz.GrpcConnections | None]:
        """Return gRPC's target for some addresses, and what lists gRPC's connections to them.

        While no address is known, this is the target itself, and no call goes there.
        """
        if not addresses:
            return self.target.text, None
        name = channelz.NAMES.of(self.target.grpc_target(addresses))
        return name, channelz.GrpcConnections(name)

    def grpc_options(self, options: ChannelOptions) -> list[tuple[str, Any]]:
        """Return a channel's options, with those that make gRPC go only where probes go.

        Raises:
            PkiError: if an option would undo what a channel promises.
        """
        proxy = self.target.proxy
        return [
            # gRPC uses the first of two options with the same name. The proxy is chosen already.
            ("grpc.enable_http_proxy", 0),
            *self.pin.options(options),
            *(proxy.options() if proxy is not None else ()),
            *channelz.OPTIONS,
        ]

    def own_leaf_not_after(self) -> datetime:
        """Return the end of our own leaf."""
        return self.snapshot().credential.leaf.not_valid_after_utc
