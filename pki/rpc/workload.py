"""``Workload``: the one handle on a live credential."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent import futures
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio

from pki.clock import Clock, system_clock
from pki.errors import InputError, StateError
from pki.files import KeyMode
from pki.files.layouts import layout_named
from pki.identity import SpiffeId
from pki.keys import private_key_to_pem
from pki.rpc.channel_aio import AioChannel
from pki.rpc.channel_sync import SyncChannel
from pki.rpc.decision_log import DecisionLog, LogWhen
from pki.rpc.following import Following
from pki.rpc.gate import Gate
from pki.rpc.guard_aio import AioGuard
from pki.rpc.guard_sync import SyncGuard
from pki.rpc.intake import check_own
from pki.rpc.judge import Judge
from pki.rpc.pin import ChannelOptions, Pin, ServedBy
from pki.rpc.policy_file import PolicyFile
from pki.rpc.process import MadeHere
from pki.rpc.public import HealthAccess, public_methods
from pki.rpc.route import Route
from pki.rpc.servers import OWN_PORT, AioServer, SyncServer
from pki.rpc.source import DirectorySource, PemSource, Source
from pki.rpc.target import Target
from pki.x509 import Credential, RevocationMode
from pki.x509.readers import to_pem

PathLike = str | os.PathLike[str]
_Word = TypeVar("_Word", bound=StrEnum)


class Workload:
    """A workload's identity, kept fresh while it runs.

    Make one with :meth:`from_directory`, use it in a ``with`` or ``async with`` block. Servers and
    channels made from it follow its credential, trust, lists and policy while they run.
    """

    def __init__(self, source: Source, policy: PathLike | None, clock: Clock) -> None:
        self._clock = clock
        self._here = MadeHere("Workload")
        self._following = Following(source, clock)
        self.spiffe_id: SpiffeId = check_own(self.credential, clock())
        self._policy = self._following.policy_file(Path(policy)) if policy is not None else None
        self._following.start()

    @classmethod
    def from_directory(
        cls,
        directory: PathLike,
        *,
        policy: PathLike | None = None,
        layout: str | None = None,
        key_mode: KeyMode | str = KeyMode.STRICT,
        revocation: RevocationMode | str = RevocationMode.REQUIRED,
        passphrase: bytes | None = None,
        clock: Clock = system_clock,
    ) -> Workload:
        """Take a workload's identity from a directory, and follow what changes there.

        Args:
            directory: where ``key.pem``, ``chain.pem``, ``bundle.pem`` and ``crl.pem`` lie, or the
                files of another layout.
            policy: the policy file for servers and channels made from this workload.
            layout: the layout's name; None tells it by the file names.
            key_mode: ``strict`` refuses a key file that others may read, ``warn`` takes it.
            revocation: ``required``, ``when-present`` or ``short-lived``.
            passphrase: for an encrypted key.
            clock: gives the time.

        Raises:
            PkiError: if the credential or the policy can't be used: then nothing starts.
        """
        source = DirectorySource(
            Path(directory),
            layout_named(layout) if layout else None,
            _word(KeyMode, key_mode, "key_mode"),
            _word(RevocationMode, revocation, "revocation"),
            passphrase,
        )
        return cls(source, policy, clock)

    @classmethod
    def from_pem(
        cls,
        *,
        key: bytes,
        chain: bytes,
        bundle: bytes,
        lists: bytes | None = None,
        policy: PathLike | None = None,
        revocation: RevocationMode | str = RevocationMode.REQUIRED,
        passphrase: bytes | None = None,
        clock: Clock = system_clock,
    ) -> Workload:
        """Take a workload's identity from PEM in memory; it stays so until the process ends.

        To bring the next one, make a :class:`~pki.rpc.PemSource` and give it to
        :meth:`from_source`.

        Args:
            key: the private key, PEM.
            chain: the leaf, then the issuing CAs, PEM.
            bundle: the roots to believe, PEM.
            lists: the revocation lists, one for each issuer, PEM.
            policy: as :meth:`from_directory`.
            revocation: as :meth:`from_directory`.
            passphrase: for an encrypted key.
            clock: gives the time.

        Raises:
            PkiError: if the credential or the policy can't be used: then nothing starts.
        """
        source = PemSource(
            key=key,
            chain=chain,
            bundle=bundle,
            lists=lists,
            revocation=_word(RevocationMode, revocation, "revocation"),
            passphrase=passphrase,
        )
        return cls(source, policy, clock)

    @classmethod
    def from_source(
        cls, source: Source, *, policy: PathLike | None = None, clock: Clock = system_clock
    ) -> Workload:
        """Take a workload's identity from a source of your own, and follow it.

        Args:
            source: fetches the credential; what is accepted of it is decided here.
            policy: as :meth:`from_directory`.
            clock: gives the time.

        Raises:
            PkiError: if the credential or the policy can't be used: then nothing starts.
        """
        return cls(source, policy, clock)

    @property
    def credential(self) -> Credential:
        """The credential in force."""
        self._here.check()
        return self._following.live.credential

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes this workload unready; empty if all is well."""
        self._here.check()
        return self._following.problems

    def server(
        self,
        *,
        policy: PathLike | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        options: ChannelOptions = (),
        maximum_concurrent_rpcs: int | None = None,
        compression: grpc.Compression | None = None,
        decision_log: LogWhen | str = LogWhen.ON_DENY,
        health: HealthAccess | str = HealthAccess.GRANTED,
    ) -> AioServer:
        """Make an asyncio server: mutual TLS, roles, revocation; deny is the default.

        Args:
            policy: the policy file; None takes the workload's.
            interceptors: yours; they run behind the gate, for calls that are allowed.
            options: of gRPC.
            maximum_concurrent_rpcs: of gRPC.
            compression: of gRPC.
            decision_log: which decisions are logged: none, on-deny, on-allow, both.
            health: who may ask for the server's health: ``granted``, who has a grant; ``public``,
                every peer whose certificate is accepted.

        Raises:
            PkiError: if there is no policy, or a bad one.
        """
        gate = self._gate(policy, decision_log, health)
        inner = grpc.aio.server(
            interceptors=[AioGuard(gate), *interceptors],
            # Of an option that is given twice gRPC takes the first.
            options=[*options, OWN_PORT],
            maximum_concurrent_rpcs=maximum_concurrent_rpcs,
            compression=compression,
        )
        return AioServer(inner, self._following.new_port)

    def sync_server(
        self,
        thread_pool: futures.ThreadPoolExecutor | None = None,
        *,
        policy: PathLike | None = None,
        interceptors: Sequence[grpc.ServerInterceptor] = (),
        options: ChannelOptions = (),
        maximum_concurrent_rpcs: int | None = None,
        compression: grpc.Compression | None = None,
        decision_log: LogWhen | str = LogWhen.ON_DENY,
        health: HealthAccess | str = HealthAccess.GRANTED,
    ) -> SyncServer:
        """Make a synchronous server; as :meth:`server` otherwise.

        Args:
            thread_pool: runs the handlers; None takes ten threads.
            policy: as :meth:`server`.
            interceptors: as :meth:`server`.
            options: as :meth:`server`.
            maximum_concurrent_rpcs: as :meth:`server`.
            compression: as :meth:`server`.
            decision_log: as :meth:`server`.
            health: as :meth:`server`.
        """
        gate = self._gate(policy, decision_log, health)
        inner = grpc.server(
            thread_pool or futures.ThreadPoolExecutor(max_workers=10),
            interceptors=[SyncGuard(gate), *interceptors],
            options=[*options, OWN_PORT],
            maximum_concurrent_rpcs=maximum_concurrent_rpcs,
            compression=compression,
        )
        return SyncServer(inner, self._following.new_port)

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

        Raises:
            PkiError: if the peer can't be pinned or looked at, or its trust domain is not trusted.
        """
        route = self._route(target, peer, policy, drain)
        used = route.pin.options(options)

        def make() -> grpc.aio.Channel:
            return grpc.aio.secure_channel(
                target, self._channel_credentials(route.pin), used, compression, interceptors
            )

        channel = AioChannel(make, route)
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
    ) -> grpc.Channel:
        """Make a synchronous channel to one named server; as :meth:`channel` otherwise."""
        route = self._route(target, peer, policy, drain)
        used = route.pin.options(options)

        def make() -> grpc.Channel:
            credentials = self._channel_credentials(route.pin)
            return grpc.secure_channel(target, credentials, used, compression)

        channel = SyncChannel(make, route)
        self._following.add_channel(channel)
        return channel

    def reload(self) -> None:
        """Look at the credential and the policies now, instead of soon."""
        self._here.check()
        self._following.look(changed=True)

    def close(self) -> None:
        """Stop following changes. Servers and channels are closed by whoever made them.

        After a fork there is nothing to stop in the child, and nothing is done.
        """
        if self._here.still:
            self._following.close()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """Give itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _gate(
        self, policy: PathLike | None, decision_log: LogWhen | str, health: HealthAccess | str
    ) -> Gate:
        self._here.check()
        used = self._chosen_policy(policy)
        if used is None:
            raise StateError(
                "a server needs a policy: without one nobody may call it",
                remedy="Give policy= to Workload.from_directory or to server()",
            )
        public = public_methods(_word(HealthAccess, health, "health"))
        judge = Judge(lambda: self._following.live.verifier, used.policy, self._clock, public)
        when = _word(LogWhen, decision_log, "decision_log")
        gate = Gate(judge, DecisionLog(when, used.path.name), self._clock)
        self._following.add_gate(gate)
        return gate

    def _route(
        self,
        target: str,
        peer: str | SpiffeId,
        policy: PathLike | None,
        drain: timedelta | None,
    ) -> Route:
        self._here.check()
        pin = Pin.of(peer, self.spiffe_id.trust_domain)
        used = self._chosen_policy(policy)
        following = self._following
        return Route(
            Target.parse(target),
            pin,
            ServedBy(pin, used.policy if used else None),
            credential=lambda: following.live.credential,
            shown=lambda: following.live.server_configuration,
            verifier=lambda: following.live.verifier,
            clock=self._clock,
            drain=drain,
        )

    def _channel_credentials(self, pin: Pin) -> grpc.ChannelCredentials:
        credential = self.credential
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

    def _chosen_policy(self, path: PathLike | None) -> PolicyFile | None:
        """Give the policy of a server or channel: its own, or the workload's."""
        return self._policy if path is None else self._following.policy_file(Path(path))


def _word(kind: type[_Word], value: str, name: str) -> _Word:
    try:
        return kind(value)
    except ValueError:
        raise InputError(
            f"{name} {value!r} is unknown", remedy=f"Use one of {', '.join(kind)}"
        ) from None
