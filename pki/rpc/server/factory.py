"""Makes the servers of one workload, and their parts for users who make servers of their own."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from pki.access.authorizer import AuthContext, CallAuthorizer
from pki.access.counters import Counters
from pki.access.decision_log import DecisionLog, DecisionLogFile, LogWhen, open_sink
from pki.access.public_methods import PublicMethods
from pki.access.ready_calls import ReadyCalls
from pki.access.refusal import Refusal
from pki.clock import Clock, seconds_of
from pki.credentials.policy_file import PolicyFile
from pki.credentials.provider import CredentialProvider
from pki.errors import InputError, NotPermittedError, quote_untrusted
from pki.rpc.options import ChannelOptions, check_server_options
from pki.rpc.server.access_control import AccessControl
from pki.rpc.server.dispatcher_aio import UNDECODABLE, make_robust_server
from pki.rpc.server.handlers import Wrap
from pki.rpc.server.interceptor_aio import AioAuthInterceptor
from pki.rpc.server.interceptor_sync import SyncAuthInterceptor
from pki.rpc.server.ports import Ports
from pki.rpc.server.servers import AioServer, ServerHooks, SyncServer, server_options

_Interceptor = TypeVar("_Interceptor", grpc.ServerInterceptor, grpc.aio.ServerInterceptor)
_Auth = TypeVar("_Auth", AioAuthInterceptor, SyncAuthInterceptor)

_SYNC_THREADS = 10


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """How a server decides on calls.

    Args:
        policy: the policy file.
        decision_log: which decisions are logged, and where.
        public: the methods that every verified peer may call, without a grant.
    """

    policy: PolicyFile
    decision_log: DecisionLogFile | LogWhen
    public: PublicMethods


@dataclass(frozen=True, slots=True)
class ServerSettings(Generic[_Interceptor]):
    """How a server is made; see ``Workload.server``.

    ``access`` returns how the server decides on calls. It is called only if the user brings no
    authorizing interceptor, which has settings of its own.
    """

    access: Callable[[], AccessSettings]
    interceptors: Sequence[_Interceptor]
    observers: Sequence[_Interceptor]
    options: ChannelOptions
    maximum_concurrent_rpcs: int | None
    compression: grpc.Compression | None


class ServerFactory:
    """Makes servers that follow one workload's credential.

    Args:
        provider: provides the credential.
        clock: returns the time.
        counters: counts what the servers do.
        check_usable: raises if the workload is closed, or was made before a fork.
    """

    def __init__(
        self,
        provider: CredentialProvider,
        clock: Clock,
        counters: Counters,
        check_usable: Callable[[], None],
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._counters = counters
        self._check_usable = check_usable
        self._lock = threading.Lock()
        self._access_controls: weakref.WeakSet[AccessControl] = weakref.WeakSet()
        self.ports = Ports(provider, clock)
        provider.subscribe(self.ports)

    @property
    def running_streams(self) -> int:
        """The number of streams that run in all servers."""
        with self._lock:
            access_controls = list(self._access_controls)
        return sum(len(access.streams) for access in access_controls)

    def aio_server(self, settings: ServerSettings[grpc.aio.ServerInterceptor]) -> AioServer:
        """Make an asyncio server; see ``Workload.server``."""
        self._check_usable()
        check_server_options(settings.options)
        users_auth = find_auth_interceptor(settings.interceptors, AioAuthInterceptor)
        auth = users_auth or self.aio_interceptor(settings.access())
        chain = InterceptorChain.of(auth, settings.observers, settings.interceptors)

        def make() -> grpc.aio.Server:
            return grpc.aio.server(
                # By keyword: OpenTelemetry's instrumentation adds its interceptors there.
                interceptors=list(chain.interceptors),
                # gRPC uses the first of two options with the same name.
                options=[*settings.options, *server_options()],
                maximum_concurrent_rpcs=settings.maximum_concurrent_rpcs,
                compression=settings.compression,
            )

        def authorize(context: AuthContext) -> Refusal | None:
            return auth.access.authorize(context, UNDECODABLE).refusal

        return AioServer(
            lambda: make_robust_server(make, authorize), self._hooks(auth, users_auth), chain.wrap
        )

    def sync_server(
        self,
        settings: ServerSettings[grpc.ServerInterceptor],
        thread_pool: futures.ThreadPoolExecutor | None,
    ) -> SyncServer:
        """Make a synchronous server; see ``Workload.sync_server``."""
        self._check_usable()
        check_server_options(settings.options)
        users_auth = find_auth_interceptor(settings.interceptors, SyncAuthInterceptor)
        auth = users_auth or self.sync_interceptor(settings.access())
        chain = InterceptorChain.of(auth, settings.observers, settings.interceptors)
        inner = grpc.server(
            thread_pool or futures.ThreadPoolExecutor(max_workers=_SYNC_THREADS),
            interceptors=chain.interceptors,
            options=[*settings.options, *server_options()],
            maximum_concurrent_rpcs=settings.maximum_concurrent_rpcs,
            compression=settings.compression,
        )
        return SyncServer(inner, self._hooks(auth, users_auth), chain.wrap)

    def aio_interceptor(self, settings: AccessSettings) -> AioAuthInterceptor:
        """Make the authorizing interceptor of an asyncio server."""
        return AioAuthInterceptor(self.access_control(settings))

    def sync_interceptor(self, settings: AccessSettings) -> SyncAuthInterceptor:
        """Make the authorizing interceptor of a synchronous server."""
        return SyncAuthInterceptor(self.access_control(settings))

    def server_credentials(self, address: str) -> grpc.ServerCredentials:
        """Make the credentials of one port; see ``Workload.server_credentials``."""
        self._check_usable()
        number = 0 if address.startswith("unix") else _port_number(address)
        port = self.ports.new_port()
        port.bind(address, number)
        return port.credentials()

    def access_control(self, settings: AccessSettings) -> AccessControl:
        """Make the access control of one server, which follows what is in force."""
        self._check_usable()
        current, seconds = self._provider.current, seconds_of(self._clock)
        authorizer = CallAuthorizer(
            lambda: current.snapshot.verifier,
            settings.policy.policy,
            self._clock,
            settings.public,
        )

        def ready_calls(method: str) -> ReadyCalls:
            return ReadyCalls(
                method,
                authorizer,
                trust=current,
                policy=settings.policy,
                seconds=seconds,
                counters=self._counters,
            )

        name, setting = settings.policy.path.name, settings.decision_log
        sink = open_sink(setting, name, self._counters.count_lost_lines)
        when = setting if isinstance(setting, LogWhen) else LogWhen(setting.when)
        log = DecisionLog(when, name, sink)
        access = AccessControl(authorizer, log, seconds, self._counters, ready_calls)
        self._provider.subscribe(access)
        with self._lock:
            self._access_controls.add(access)
        return access

    def _hooks(
        self, auth: AioAuthInterceptor | SyncAuthInterceptor, users_auth: object | None
    ) -> ServerHooks:
        def on_stop() -> None:
            # An interceptor that the user made may be in another server too.
            if users_auth is None:
                self._provider.release(auth.access)

        return ServerHooks(self.ports.new_port, self._check_usable, on_stop)


@dataclass(frozen=True, slots=True)
class InterceptorChain:
    """The order of interceptors in a server.

    gRPC calls each interceptor for each call. If the user has no interceptor that runs after access
    control, access control is no interceptor either: it wraps each handler once, at registration,
    which costs less.

    Args:
        interceptors: the interceptors that gRPC is given, the outermost first.
        wrap: puts a handler behind access control; None where an interceptor does.
    """

    interceptors: list[Any]
    wrap: Wrap | None

    @classmethod
    def of(
        cls,
        auth: AioAuthInterceptor | SyncAuthInterceptor,
        observers: Sequence[Any],
        interceptors: Sequence[Any],
    ) -> InterceptorChain:
        """Return the chain: observers, access control, the user's interceptors."""
        others = [item for item in interceptors if item is not auth]
        if others:
            return cls([*observers, auth, *others], None)
        return cls([*observers], auth.wrap)


def find_auth_interceptor(interceptors: Sequence[object], kind: type[_Auth]) -> _Auth | None:
    """Return the authorizing interceptor that a user put among others; None if there is none.

    Raises:
        InputError: if it is for the other kind of server.
        NotPermittedError: if it is not the first: one before it would run, and might answer, for
            callers that were not authorized.
    """
    auth = [
        item for item in interceptors if isinstance(item, AioAuthInterceptor | SyncAuthInterceptor)
    ]
    if not auth:
        return None
    if len(auth) > 1 or interceptors[0] is not auth[0]:
        raise NotPermittedError(
            "an interceptor comes before the authorizing one: it would run for callers that were "
            "not authorized",
            remedy="Put Workload.interceptor() first, once; or leave it out, server() has its own",
        )
    if not isinstance(auth[0], kind):
        raise InputError(
            "the authorizing interceptor is for the other kind of server",
            remedy="Use interceptor() with server(), sync_interceptor() with sync_server()",
        )
    return auth[0]


def _port_number(address: str) -> int:
    text = address.rpartition(":")[2]
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 0 < number <= 65535:
        raise InputError(
            f"address {quote_untrusted(address)} names no fixed port number",
            remedy="Name one, e.g. 0.0.0.0:8443, or use Workload.server(), which finds "
            "out the number",
        )
    return number
