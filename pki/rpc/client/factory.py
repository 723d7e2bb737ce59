"""Makes the channels of one workload, and their parts for users who make channels of their own."""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict

import grpc
import grpc.aio

from pki.access.counters import Counters
from pki.clock import Clock
from pki.credentials.policy_file import PolicyFile
from pki.credentials.provider import CredentialProvider
from pki.errors import InputError
from pki.identity import SpiffeId
from pki.keys import private_key_to_pem
from pki.rpc.client.channel_aio import AioChannel
from pki.rpc.client.channel_config import ChannelConfig
from pki.rpc.client.channel_sync import SyncChannel
from pki.rpc.client.failure_explainer import FailureExplainer
from pki.rpc.client.pin import Pin
from pki.rpc.client.served_by import ServedByCheck
from pki.rpc.client.service_config import ServiceConfig
from pki.rpc.options import ChannelOptions, check_channel_options, first_option
from pki.tls.target import Target
from pki.x509.readers import to_pem


class ChannelArguments(TypedDict):
    """The arguments of ``grpc.secure_channel`` and ``grpc.aio.secure_channel`` after the target."""

    credentials: grpc.ChannelCredentials
    options: list[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """How a channel is made; see ``Workload.channel``.

    ``policy`` returns the policy file, or None; it is called when the other settings are in order.
    """

    target: str
    peer: str | SpiffeId
    policy: Callable[[], PolicyFile | None]
    options: ChannelOptions
    compression: grpc.Compression | None
    drain: timedelta | None
    explain: bool


class ChannelFactory:
    """Makes channels that follow one workload's credential.

    Args:
        spiffe_id: the workload's own SPIFFE ID.
        provider: provides the credential.
        clock: returns the time.
        counters: counts what the channels do.
        check_usable: raises if the workload is closed, or was made before a fork.
    """

    def __init__(
        self,
        spiffe_id: SpiffeId,
        provider: CredentialProvider,
        clock: Clock,
        counters: Counters,
        check_usable: Callable[[], None],
    ) -> None:
        self._own_domain = spiffe_id.trust_domain
        self._provider = provider
        self._clock = clock
        self._counters = counters
        self._check_usable = check_usable
        self._lock = threading.Lock()
        self._channels: weakref.WeakSet[AioChannel | SyncChannel] = weakref.WeakSet()

    @property
    def connection_states(self) -> Counter[str]:
        """The number of connections of all channels, by state."""
        with self._lock:
            channels = list(self._channels)
        return Counter(state for item in channels for state in item.connections.states())

    def aio_channel(
        self, settings: ChannelSettings, interceptors: Sequence[grpc.aio.ClientInterceptor]
    ) -> AioChannel:
        """Make an asyncio channel; see ``Workload.channel``."""
        config = self._config(settings)
        options = config.grpc_options(settings.options)

        def make(target: str) -> grpc.aio.Channel:
            credentials = self._credentials(config.pin)
            # By keyword: OpenTelemetry's instrumentation adds its interceptors there.
            return grpc.aio.secure_channel(
                target, credentials, options, settings.compression, interceptors=interceptors
            )

        channel = AioChannel(make, config, ServiceConfig.of(settings.options))
        self._follow(channel)
        return channel

    def sync_channel(self, settings: ChannelSettings) -> SyncChannel:
        """Make a synchronous channel; see ``Workload.sync_channel``."""
        config = self._config(settings)
        options = config.grpc_options(settings.options)

        def make(target: str) -> grpc.Channel:
            credentials = self._credentials(config.pin)
            return grpc.secure_channel(target, credentials, options, settings.compression)

        channel = SyncChannel(make, config, ServiceConfig.of(settings.options))
        self._follow(channel)
        return channel

    def channel_arguments(self, peer: str | SpiffeId, options: ChannelOptions) -> ChannelArguments:
        """Make the credentials and options of a channel; see ``Workload.channel_arguments``."""
        self._check_usable()
        pin = Pin.of(peer, self._own_domain)
        return ChannelArguments(credentials=self._credentials(pin), options=pin.options(options))

    def _follow(self, channel: AioChannel | SyncChannel) -> None:
        self._provider.subscribe(channel.connections)
        with self._lock:
            self._channels.add(channel)

    def _config(self, settings: ChannelSettings) -> ChannelConfig:
        self._check_usable()
        check_channel_options(settings.options)
        pin = Pin.of(settings.peer, self._own_domain)
        file = settings.policy()
        provider, counters, clock = self._provider, self._counters, self._clock
        name = str(pin.spiffe_id)
        target = Target.parse(settings.target)
        if first_option(settings.options, "grpc.enable_http_proxy") in {None, 1}:
            target = target.via_proxy(os.environ)

        def diagnose() -> str:
            # Loaded here: most services never need the diagnosis.
            from pki.diagnosis import explain_failed_handshake  # noqa: PLC0415

            credential = provider.snapshot.credential
            return explain_failed_handshake(target, pin.spiffe_id, credential, clock)

        return ChannelConfig(
            target,
            pin,
            ServedByCheck(pin, file.policy if file else None),
            snapshot=lambda: provider.snapshot,
            clock=clock,
            drain=settings.drain,
            on_verification=lambda result: counters.count_verification(name, result),
            on_rotation=lambda: counters.count_rotation(name),
            on_refused_call=lambda refusal: counters.count_refused_call(name, refusal),
            explainer=FailureExplainer(diagnose) if settings.explain else None,
        )

    def _credentials(self, pin: Pin) -> grpc.ChannelCredentials:
        credential = self._provider.snapshot.credential
        roots = credential.bundle.roots_of(pin.spiffe_id.trust_domain)
        if not roots:
            raise InputError(
                f"trust domain {pin.spiffe_id.trust_domain} is not in the trust bundle",
                remedy="Add its root to the trust bundle, if you want to trust its servers",
            )
        return grpc.ssl_channel_credentials(
            # The roots of that trust domain alone: another domain's CA can't name its servers.
            to_pem(roots),
            private_key_to_pem(credential.key),
            to_pem(credential.chain),
        )
