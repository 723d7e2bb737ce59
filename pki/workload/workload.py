"""``Workload``: a live credential, and the servers and channels that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent import futures
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from pki.access.counters import Counters
from pki.access.decision_log import DecisionLogFile, LogWhen, WhenFull
from pki.access.workload_metrics import WorkloadMetrics
from pki.errors import StateError
from pki.identity import SpiffeId
from pki.rpc.client.channel_aio import AioChannel
from pki.rpc.client.channel_sync import SyncChannel
from pki.rpc.client.factory import ChannelArguments, ChannelFactory, ChannelSettings
from pki.rpc.options import ChannelOptions
from pki.rpc.server.access_control import AccessControl
from pki.rpc.server.factory import AccessSettings, ServerFactory, ServerSettings
from pki.rpc.server.health_access import HealthAccess, public_methods
from pki.rpc.server.interceptor_aio import AioAuthInterceptor
from pki.rpc.server.interceptor_sync import SyncAuthInterceptor
from pki.rpc.server.servers import AioServer, SyncServer
from pki.workload.lifecycle import PathLike, WorkloadLifecycle, parse_setting

if TYPE_CHECKING:
    from pki.access.prometheus import WorkloadCollector


class Workload(WorkloadLifecycle):
    """A workload's identity, kept fresh while it runs.

    Make one with :meth:`from_directory`, and use it in a ``with`` or ``async with`` block. Servers
    and channels made from it follow its credential, trust, revocation lists and policy.
    """

    def _set_up(self) -> None:
        self._counters = Counters()
        made_with = (self._provider, self._clock, self._counters, self._check_usable)
        self._servers = ServerFactory(*made_with)
        self._channels = ChannelFactory(self.spiffe_id, *made_with)

    def server(
        self,
        *,
        policy: PathLike | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        observers: Sequence[grpc.aio.ServerInterceptor] = (),
        options: ChannelOptions = (),
        maximum_concurrent_rpcs: int | None = None,
        compression: grpc.Compression | None = None,
        decision_log: DecisionLogFile | LogWhen | str = LogWhen.ON_DENY,
        health: HealthAccess | str = HealthAccess.GRANTED,
    ) -> AioServer:
        """Make an asyncio server with mutual TLS, roles and revocation; the default is to deny.

        Args:
            policy: the policy file; None uses the workload's.
            interceptors: yours; they run for calls that are allowed. An interceptor made by
                :meth:`interceptor` may be the first of them; then its own settings apply.
            observers: interceptors that run before authorization, and see refused calls too. For
                telemetry only: if an observer answers a call itself, callers that were not
                authorized get that answer too.
            options: gRPC channel arguments, passed on to gRPC.
            maximum_concurrent_rpcs: how many calls may run at once; None is no limit. Calls that
                are too many end with RESOURCE_EXHAUSTED.
            compression: passed on to gRPC.
            decision_log: which decisions are logged: ``none``, ``on-deny``, ``on-allow``, ``both``;
                or a ``DecisionLogFile``.
            health: who may ask for the server's health: ``granted``: peers with a grant for it;
                ``public``: every peer whose certificate is accepted.

        Raises:
            PkiError: if there is no policy, or a bad one, or an interceptor comes before the
                authorizing one.
        """
        settings = ServerSettings(
            lambda: self._access_settings(policy, decision_log, health),
            interceptors,
            observers,
            options,
            maximum_concurrent_rpcs,
            compression,
        )
        return self._servers.aio_server(settings)

    def sync_server(
        self,
        thread_pool: futures.ThreadPoolExecutor | None = None,
        *,
        policy: PathLike | None = None,
        interceptors: Sequence[grpc.ServerInterceptor] = (),
        observers: Sequence[grpc.ServerInterceptor] = (),
        options: ChannelOptions = (),
        maximum_concurrent_rpcs: int | None = None,
        compression: grpc.Compression | None = None,
        decision_log: DecisionLogFile | LogWhen | str = LogWhen.ON_DENY,
        health: HealthAccess | str = HealthAccess.GRANTED,
    ) -> SyncServer:
        """Make a synchronous server; all arguments but ``thread_pool`` are those of :meth:`server`.

        ``thread_pool`` runs the handlers; None makes one of ten threads.
        """
        settings = ServerSettings(
            lambda: self._access_settings(policy, decision_log, health),
            interceptors,
            observers,
            options,
            maximum_concurrent_rpcs,
            compression,
        )
        return self._servers.sync_server(settings, thread_pool)

    def interceptor(
        self,
        policy: PathLike | None = None,
        *,
        decision_log: DecisionLogFile | LogWhen | str = LogWhen.ON_DENY,
        health: HealthAccess | str = HealthAccess.GRANTED,
    ) -> AioAuthInterceptor:
        """Make the authorizing interceptor alone, for an asyncio server of your own: put it first.

        It authorizes each call by the client certificate of its connection: trust, time, revocation
        and policy. Only :meth:`server` also gives: no port without client authentication, rotation
        of the server's own certificate, and the order of interceptors. The arguments are those of
        :meth:`server`.

        Raises:
            PkiError: if there is no policy, or a bad one.
        """
        return self._servers.aio_interceptor(self._access_settings(policy, decision_log, health))

    def sync_interceptor(
        self,
        policy: PathLike | None = None,
        *,
        decision_log: DecisionLogFile | LogWhen | str = LogWhen.ON_DENY,
        health: HealthAccess | str = HealthAccess.GRANTED,
    ) -> SyncAuthInterceptor:
        """Make the authorizing interceptor for a synchronous server; as :meth:`interceptor`."""
        return self._servers.sync_interceptor(self._access_settings(policy, decision_log, health))

    def server_credentials(self, address: str) -> grpc.ServerCredentials:
        """Make credentials for one port of a server of your own, of either kind.

        Clients must present a certificate that chains to the trust bundle, and each new handshake
        uses the certificate in force. Roles, revocation, and the end of a certificate on an open
        connection are not checked without :meth:`interceptor`.

        Args:
            address: where the server listens, e.g. ``0.0.0.0:8443``. To change the certificate of a
                port we make a handshake with it, so its number must be known.

        Raises:
            InputError: if the address names no fixed port number.
        """
        return self._servers.server_credentials(address)

    def access_control(self, policy: PathLike | None = None) -> AccessControl:
        """Make what authorizes the callers of a server that is not gRPC's.

        Its ``authorize(certificates, method)`` takes the caller's certificates as gRPC names them:
        ``{"x509_pem_cert": [leaf], "x509_pem_cert_chain": [chain]}``.

        Args:
            policy: the policy file; None uses the workload's.

        Raises:
            PkiError: if there is no policy, or a bad one.
        """
        settings = self._access_settings(policy, LogWhen.ON_DENY, HealthAccess.GRANTED)
        return self._servers.access_control(settings)

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
    ) -> AioChannel:
        """Make an asyncio channel to one named server.

        Args:
            target: where the server is, as gRPC names it.
            peer: who it must be: a path in our own trust domain such as ``payments``, or a SPIFFE
                ID.
            policy: its ``served_by`` is checked before each call; None uses the workload's. Without
                any policy only the name is checked.
            options: gRPC channel arguments, passed on to gRPC.
            compression: passed on to gRPC.
            interceptors: passed on to gRPC.
            drain: how long calls may continue on an old connection after a rotation; None: until a
                certificate of that connection expires.
            explain: whether a call that fails in the handshake waits a moment to name the cause.

        Raises:
            PkiError: if the peer can't be pinned or verified, or its trust domain is not trusted.
        """
        settings = ChannelSettings(
            target,
            peer,
            lambda: self._policy_or_own(policy, peer),
            options,
            compression,
            drain,
            explain,
        )
        return self._channels.aio_channel(settings, interceptors)

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
    ) -> SyncChannel:
        """Make a synchronous channel to one named server; as :meth:`channel`."""
        settings = ChannelSettings(
            target,
            peer,
            lambda: self._policy_or_own(policy, peer),
            options,
            compression,
            drain,
            explain,
        )
        return self._channels.sync_channel(settings)

    def channel_arguments(
        self, peer: str | SpiffeId, *, options: ChannelOptions = ()
    ) -> ChannelArguments:
        """Make credentials and options for a channel of your own, of either kind.

        ``grpc.secure_channel(target, **me.channel_arguments("payments"))``. They belong together:
        the pin on the server is an option, and credentials alone would drop it silently. Only
        :meth:`channel` also gives: rotation, the verification of the server (revocation, profile,
        exact SPIFFE ID), the end of calls when the verification of their server no longer holds,
        and ``served_by``.

        Args:
            peer: as :meth:`channel`.
            options: yours, to which the pin is added.

        Raises:
            PkiError: if the peer can't be pinned, or its trust domain is not trusted.
        """
        return self._channels.channel_arguments(peer, options)

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes calls fail, or will if nothing is done; empty if there is nothing.

        The workload's own certificate expired or revoked, revocation lists stale, files that can't
        be read, a policy that is refused, a port that still presents its older certificate. After
        :meth:`close` it says that the workload is closed.
        """
        self._fork_guard.check()
        problems = self._provider.problems
        return problems if self._provider.is_closed else (*problems, *self._servers.ports.problems)

    def collector(self, *others: Workload) -> WorkloadCollector:
        """Return a collector of this workload's metrics: ``REGISTRY.register(me.collector())``.

        Args:
            others: the other workloads of this process: a registry accepts each metric once.

        Raises:
            InputError: if two of them have the same SPIFFE ID.
        """
        # Loaded here: a service without metrics does not pay for the library.
        from pki.access.prometheus import WorkloadCollector  # noqa: PLC0415

        workloads = (self, *others)
        return WorkloadCollector([(str(item.spiffe_id), item._metrics) for item in workloads])

    def _access_settings(
        self,
        policy: PathLike | None,
        decision_log: DecisionLogFile | LogWhen | str,
        health: HealthAccess | str,
    ) -> AccessSettings:
        used = self._policy_or_own(policy)
        if used is None:
            raise StateError(
                "a server needs a policy: without one nobody may call it",
                remedy="Give policy= to Workload.from_directory or to server()",
            )
        public = public_methods(parse_setting(HealthAccess, health, "health"))
        return AccessSettings(used, _parse_decision_log(decision_log), public)

    def _metrics(self) -> WorkloadMetrics | None:
        # After a fork its locks may be held forever.
        if not self._fork_guard.in_same_process:
            return None
        provider = self._provider
        return WorkloadMetrics(
            provider.snapshot.credential,
            provider.current.on_disk,
            provider.current.reloads,
            provider.current.crl_reloads,
            self._servers.ports.changes,
            tuple((item.file, item.reloads) for item in provider.policies),
            problems=len(self.problems),
            streams=self._servers.running_streams,
            connections=self._channels.connection_states,
            counters=self._counters,
        )


def _parse_decision_log(setting: DecisionLogFile | LogWhen | str) -> DecisionLogFile | LogWhen:
    if not isinstance(setting, DecisionLogFile):
        return parse_setting(LogWhen, setting, "decision_log")
    return DecisionLogFile(
        setting.path,
        parse_setting(LogWhen, setting.when, "when"),
        parse_setting(WhenFull, setting.when_full, "when_full"),
    )
