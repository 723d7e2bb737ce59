"""What a workload calls with: channels, and their parts for those who make their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypedDict

import grpc
import grpc.aio

from pki.errors import InputError
from pki.identity import SpiffeId
from pki.keys import private_key_to_pem
from pki.rpc.bound import Bound, PathLike
from pki.rpc.client.channel_aio import AioChannel
from pki.rpc.client.channel_sync import SyncChannel
from pki.rpc.client.connections import ChannelConfig
from pki.rpc.client.failure_explainer import FailureExplainer, why
from pki.rpc.client.pin import Pin, ServedByCheck
from pki.rpc.client.service_config import ServiceConfig
from pki.rpc.options import ChannelOptions, check_channel_options, first_option
from pki.tls.target import Target
from pki.x509.readers import to_pem


class ChannelArguments(TypedDict):
    """What ``grpc.secure_channel`` and ``grpc.aio.secure_channel`` take beside the target."""

    credentials: grpc.ChannelCredentials
    options: list[tuple[str, Any]]


class Calling(Bound):
    """The side of a workload that makes calls."""

    def channel(
        self,
        target: str,
        *,
        peer: str | SpiffeId,
        policy: PathLike | None = None,
        options: ChannelOptions = (),
        compression: grpc.Compression | None = None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        drain: timedelta | None = None,
        explain: bool = True,
    ) -> grpc.aio.Channel:
        """Make an asyncio channel to one named server.

        Args:
            target: where it is, as gRPC names it.
            peer: who it must be: a path in our own trust domain such as ``payments``, or a SPIFFE
                ID.
            policy: its ``served_by`` is asked before each call; None takes the workload's. Without
                any policy the name alone is held.
            options: of gRPC.
            compression: of gRPC.
            interceptors: of gRPC.
            drain: how long calls may go on with an old connection after a rotation; None lets them
                until the leaf ends that it began with.
            explain: whether a call that fails in the handshake waits a moment to say why.

        Raises:
            PkiError: if the peer can't be pinned or looked at, or its trust domain is not trusted.
        """
        route = self._route(target, peer, policy, drain, options, explain=explain)
        used = route.options(options)
        config = ServiceConfig.of(options)

        def make(where: str) -> grpc.aio.Channel:
            credentials = self._channel_credentials(route.pin)
            # By keyword: OpenTelemetry's instrumentation finds and adds interceptors there alone.
            return grpc.aio.secure_channel(
                where, credentials, used, compression, interceptors=interceptors
            )

        channel = AioChannel(make, route, config)
        self._following.add_channel(channel)
        return channel

    def sync_channel(
        self,
        target: str,
        *,
        peer: str | SpiffeId,
        policy: PathLike | None = None,
        options: ChannelOptions = (),
        compression: grpc.Compression | None = None,
        drain: timedelta | None = None,
        explain: bool = True,
    ) -> grpc.Channel:
        """Make a synchronous channel to one named server; as :meth:`channel` otherwise."""
        route = self._route(target, peer, policy, drain, options, explain=explain)
        used = route.options(options)
        config = ServiceConfig.of(options)

        def make(where: str) -> grpc.Channel:
            credentials = self._channel_credentials(route.pin)
            return grpc.secure_channel(where, credentials, used, compression)

        channel = SyncChannel(make, route, config)
        self._following.add_channel(channel)
        return channel

    def channel_arguments(
        self, peer: str | SpiffeId, *, options: ChannelOptions = ()
    ) -> ChannelArguments:
        """Make credentials and options for a channel of your own, of either kind.

        ``grpc.secure_channel(target, **me.channel_arguments("payments"))``. They belong together:
        the pin on the server is an option, and credentials alone would drop it without a word.
        What only :meth:`channel` gives: rotation, the look at the server (revocation, profile,
        exact SPIFFE ID), the end of calls with their proof, and ``served_by``.

        Args:
            peer: as :meth:`channel`.
            options: yours, to which the pin is added.

        Raises:
            PkiError: if the peer can't be pinned, or its trust domain is not trusted.
        """
        self._check_usable()
        pin = Pin.of(peer, self.spiffe_id.trust_domain)
        return ChannelArguments(
            credentials=self._channel_credentials(pin), options=pin.options(options)
        )

    def _route(
        self,
        target: str,
        peer: str | SpiffeId,
        policy: PathLike | None,
        drain: timedelta | None,
        options: ChannelOptions,
        *,
        explain: bool,
    ) -> ChannelConfig:
        self._check_usable()
        check_channel_options(options)
        pin = Pin.of(peer, self.spiffe_id.trust_domain)
        used = self._chosen_policy(policy)
        following, name = self._following, str(pin.spiffe_id)
        place = Target.parse(target)
        if first_option(options, "grpc.enable_http_proxy") in {None, 1}:
            place = place.via_proxy(os.environ)
        inquiry = FailureExplainer(
            lambda: why(place, pin.spiffe_id, following.live.credential, self._clock)
        )
        return ChannelConfig(
            place,
            pin,
            ServedByCheck(pin, used.policy if used else None),
            credential=lambda: following.live.credential,
            shown=lambda: following.live.server_configuration,
            verifier=lambda: following.live.verifier,
            clock=self._clock,
            drain=drain,
            looked=lambda result: following.counts.looked(name, result),
            rotated=lambda: following.counts.rotated(name),
            refused=lambda refusal: following.counts.turned_away(name, refusal),
            inquiry=inquiry if explain else None,
        )

    def _channel_credentials(self, pin: Pin) -> grpc.ChannelCredentials:
        credential = self._following.live.credential
        roots = credential.bundle.roots_of(pin.spiffe_id.trust_domain)
        if not roots:
            raise InputError(
                f"trust domain {pin.spiffe_id.trust_domain} is not in the trust bundle",
                remedy="Add its root, if its servers are to be believed",
            )
        return grpc.ssl_channel_credentials(
            # The roots of that trust domain alone: another's CA can't name a server of it.
            to_pem(roots),
            private_key_to_pem(credential.key),
            to_pem(credential.chain),
        )
