"""What a workload serves with: servers, and their parts for those who make their own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio

from pki.access.authorizer import AuthContext, CallAuthorizer
from pki.access.decision_log import DecisionLog, LogWhen
from pki.access.public_methods import HealthAccess, public_methods
from pki.access.refusal import Refusal
from pki.errors import InputError, NotPermittedError, StateError, quote_untrusted
from pki.rpc.bound import Bound, PathLike, parse_setting
from pki.rpc.options import ChannelOptions, check_server_options
from pki.rpc.server.access_control import AccessControl
from pki.rpc.server.dispatcher_aio import UNDECODABLE, server_that_stays
from pki.rpc.server.interceptor_aio import AioAuthInterceptor
from pki.rpc.server.interceptor_sync import SyncAuthInterceptor
from pki.rpc.server.registered import Protect
from pki.rpc.server.servers import AioServer, ServerHooks, SyncServer, server_options


class Serving(Bound):
    """The side of a workload that answers calls."""

    def server(
        self,
        *,
        policy: PathLike | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        observers: Sequence[grpc.aio.ServerInterceptor] = (),
        options: ChannelOptions = (),
        maximum_concurrent_rpcs: int | None = None,
        compression: grpc.Compression | None = None,
        decision_log: LogWhen | str = LogWhen.ON_DENY,
        health: HealthAccess | str = HealthAccess.GRANTED,
    ) -> AioServer:
        """Make an asyncio server: mutual TLS, roles, revocation; deny is the default.

        Args:
            policy: the policy file; None takes the workload's.
            interceptors: yours; they run behind the gate, for calls that are allowed. A gate made
                by :meth:`interceptor` may stand first among them, and nowhere else; its own
                settings count then.
            observers: interceptors that stand before the gate and see refused calls too. For
                telemetry alone: what one answers by itself is answered to anybody.
            options: of gRPC.
            maximum_concurrent_rpcs: of gRPC.
            compression: of gRPC.
            decision_log: which decisions are logged: none, on-deny, on-allow, both.
            health: who may ask for the server's health: ``granted``, who has a grant; ``public``,
                every peer whose certificate is accepted.

        Raises:
            PkiError: if there is no policy, or a bad one, or an interceptor stands before the gate.
        """
        self._check_usable()
        check_server_options(options)
        brought = gate_among(interceptors, AioAuthInterceptor)
        guard = brought or self.interceptor(policy, decision_log=decision_log, health=health)
        line = InterceptorChain.of(guard, observers, interceptors)

        def make() -> grpc.aio.Server:
            return grpc.aio.server(
                # By keyword: OpenTelemetry's instrumentation finds and adds interceptors there.
                interceptors=list(line.interceptors),
                # Of an option that is given twice gRPC takes the first.
                options=[*options, *server_options()],
                maximum_concurrent_rpcs=maximum_concurrent_rpcs,
                compression=compression,
            )

        def answer(auth: AuthContext) -> Refusal | None:
            return guard.gate.ask(auth, UNDECODABLE).refusal

        return AioServer(
            lambda: server_that_stays(make, answer), self._home_of(guard, brought), line.behind
        )

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
        decision_log: LogWhen | str = LogWhen.ON_DENY,
        health: HealthAccess | str = HealthAccess.GRANTED,
    ) -> SyncServer:
        """Make a synchronous server; as :meth:`server` otherwise.

        Args:
            thread_pool: runs the handlers; None takes ten threads.
            policy: as :meth:`server`.
            interceptors: as :meth:`server`.
            observers: as :meth:`server`.
            options: as :meth:`server`.
            maximum_concurrent_rpcs: as :meth:`server`.
            compression: as :meth:`server`.
            decision_log: as :meth:`server`.
            health: as :meth:`server`.
        """
        self._check_usable()
        check_server_options(options)
        brought = gate_among(interceptors, SyncAuthInterceptor)
        guard = brought or self.sync_interceptor(policy, decision_log=decision_log, health=health)
        line = InterceptorChain.of(guard, observers, interceptors)
        inner = grpc.server(
            thread_pool or futures.ThreadPoolExecutor(max_workers=10),
            interceptors=line.interceptors,
            options=[*options, *server_options()],
            maximum_concurrent_rpcs=maximum_concurrent_rpcs,
            compression=compression,
        )
        return SyncServer(inner, self._home_of(guard, brought), line.behind)

    def interceptor(
        self,
        policy: PathLike | None = None,
        *,
        decision_log: LogWhen | str = LogWhen.ON_DENY,
        health: HealthAccess | str = HealthAccess.GRANTED,
    ) -> AioAuthInterceptor:
        """Make the gate alone, for an asyncio server of your own: put it first.

        It judges each call by the client certificate of its connection: trust, time, revocation and
        policy. What only :meth:`server` gives: no port without client authentication, rotation of
        the server's own certificate, the order of interceptors.

        Args:
            policy: as :meth:`server`.
            decision_log: as :meth:`server`.
            health: as :meth:`server`.

        Raises:
            PkiError: if there is no policy, or a bad one.
        """
        return AioAuthInterceptor(self._gate(policy, decision_log, health))

    def sync_interceptor(
        self,
        policy: PathLike | None = None,
        *,
        decision_log: LogWhen | str = LogWhen.ON_DENY,
        health: HealthAccess | str = HealthAccess.GRANTED,
    ) -> SyncAuthInterceptor:
        """Make the gate alone, for a synchronous server of your own; as :meth:`interceptor`."""
        return SyncAuthInterceptor(self._gate(policy, decision_log, health))

    def server_credentials(self, address: str) -> grpc.ServerCredentials:
        """Make credentials for one port of a server of your own, of either kind.

        Clients must show a certificate that chains to the trust bundle, and each new handshake gets
        the certificate in force. Roles, revocation, and the end of a certificate on an open
        connection are the gate's: without :meth:`interceptor` they are not looked at.

        Args:
            address: what the server is told to listen on, e.g. ``0.0.0.0:8443``. A certificate is
                changed under a handshake of our own with that port, so its number must be known.

        Raises:
            InputError: if the address leaves the number of the port open.
        """
        self._check_usable()
        number = 0
        if not address.startswith("unix"):
            text = address.rpartition(":")[2]
            number = int(text) if text.isascii() and text.isdigit() else 0
            if not 0 < number <= 65535:
                raise InputError(
                    f"address {quote_untrusted(address)} leaves the number of its port open",
                    remedy="Choose one, or use Workload.server(): it learns which one it got",
                )
        port = self._following.new_port()
        port.opened(address, number)
        return port.credentials()

    def _home_of(
        self, guard: AioAuthInterceptor | SyncAuthInterceptor, brought: object | None
    ) -> ServerHooks:
        following = self._following

        def stopped() -> None:
            # A gate that its user made may stand in another server too.
            if brought is None:
                following.retire_gate(guard.gate)

        return ServerHooks(following.new_port, self._check_usable, stopped)

    def _gate(
        self, policy: PathLike | None, decision_log: LogWhen | str, health: HealthAccess | str
    ) -> AccessControl:
        self._check_usable()
        used = self._chosen_policy(policy)
        if used is None:
            raise StateError(
                "a server needs a policy: without one nobody may call it",
                remedy="Give policy= to Workload.from_directory or to server()",
            )
        public = public_methods(parse_setting(HealthAccess, health, "health"))
        judge = CallAuthorizer(
            lambda: self._following.live.verifier, used.policy, self._clock, public
        )
        when = parse_setting(LogWhen, decision_log, "decision_log")
        log = DecisionLog(when, used.path.name)
        gate = AccessControl(judge, log, self._clock, self._following.counts)
        self._following.add_gate(gate)
        return gate


@dataclass(frozen=True, slots=True)
class InterceptorChain:
    """Who stands before whom in a server.

    gRPC asks each interceptor anew at each call. Where nobody's interceptors stand behind the gate,
    it is none: it wraps each handler once, where handlers are registered.

    Args:
        interceptors: those that gRPC is given, the outermost first.
        behind: puts a handler that is registered behind the gate; None where the gate stands among
            the interceptors.
    """

    interceptors: list[Any]
    behind: Protect | None

    @classmethod
    def of(
        cls,
        guard: AioAuthInterceptor | SyncAuthInterceptor,
        observers: Sequence[Any],
        interceptors: Sequence[Any],
    ) -> InterceptorChain:
        """Line up a gate, what stands before it, and what stands behind it."""
        others = [item for item in interceptors if item is not guard]
        if others:
            return cls([*observers, guard, *others], None)
        return cls([*observers], guard.behind)


_Guard = TypeVar("_Guard", AioAuthInterceptor, SyncAuthInterceptor)


def gate_among(interceptors: Sequence[object], kind: type[_Guard]) -> _Guard | None:
    """Find the gate that a user put among the interceptors; None if there is none.

    Raises:
        InputError: if it is for the other kind of server.
        NotPermittedError: if it is not the first: what stands before it would run, and might
            answer, for callers that nobody has judged.
    """
    gates = [
        item for item in interceptors if isinstance(item, AioAuthInterceptor | SyncAuthInterceptor)
    ]
    if not gates:
        return None
    if len(gates) > 1 or interceptors[0] is not gates[0]:
        raise NotPermittedError(
            "an interceptor stands before the gate: it would run for callers nobody has judged",
            remedy="Put Workload.interceptor() first, once; or leave it out, server() has its own",
        )
    if not isinstance(gates[0], kind):
        raise InputError(
            "the gate is for the other kind of server",
            remedy="Use interceptor() with server(), sync_interceptor() with sync_server()",
        )
    return gates[0]
