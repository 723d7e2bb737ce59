"""Servers that require client authentication on every port."""

from __future__ import annotations

import asyncio
import logging
import resource
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

import grpc
import grpc.aio

from pki.background import defer
from pki.credentials.fork_guard import ForkGuard
from pki.errors import NotPermittedError
from pki.rpc.server.handlers import ProtectedHandlers, Wrap
from pki.rpc.server.port_certificate import PortCertificate

log = logging.getLogger("handfast.rpc")

_CHECK_SECONDS = 0.2

# A good client's handshake takes milliseconds; gRPC's own bound is two minutes.
_HANDSHAKE_MILLISECONDS = 10_000
# Descriptors that are kept for other uses than connections: our own files, channels, the user's.
_LEAST_KEPT, _PART_KEPT = 64, 4
_MOST_CONNECTIONS = 100_000
CONNECTIONS = "grpc.max_allowed_incoming_connections"


def server_options(*, share: float = 1.0) -> list[tuple[str, int]]:
    """Return the default options of a server.

    gRPC uses the first of two options with the same name: put these after the user's.

    Args:
        share: of the connections that the process can hold, for each port of the server.
    """
    return [
        # Without this a second server binds a port that is in use, and no error is raised.
        ("grpc.so_reuseport", 0),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MILLISECONDS),
        # For each port. Further connections are closed at once, before a handshake.
        (CONNECTIONS, most_connections(share)),
    ]


def most_connections(share: float) -> int:
    """Return how many connections a port may hold, so that descriptors are left for files.

    Args:
        share: of those that the process can hold; the shares of all its ports make 1.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return int(_MOST_CONNECTIONS * share)
    # Half of them, where there are very few.
    kept = min(max(_LEAST_KEPT, most // _PART_KEPT), most // 2)
    return max(1, int(min(most - kept, _MOST_CONNECTIONS) * share))


def _refuse_argument(what: str) -> NoReturn:
    raise NotPermittedError(
        f"a server made by Workload takes no {what}",
        remedy="Use add_secure_port(address): it takes the workload's own credentials",
    )


@dataclass(frozen=True, slots=True)
class ServerHooks:
    """What a server calls in the workload that made it.

    Args:
        new_port: returns a port's certificate, which is kept fresh.
        check_usable: raises if the workload is closed: nobody would notice a revocation.
        on_stop: called when the server accepts no new calls any more.
    """

    new_port: Callable[[], PortCertificate]
    check_usable: Callable[[], None]
    on_stop: Callable[[], None]


_Server = TypeVar("_Server", grpc.Server, grpc.aio.Server)


class _SecureServer(Generic[_Server]):
    """What both kinds of server have in common.

    Args:
        inner: gRPC's own server.
        hooks: what the server calls in its workload.
        wrap: puts handlers behind access control; None where an interceptor of ``inner`` does.
    """

    def __init__(self, inner: _Server, hooks: ServerHooks, wrap: Wrap | None) -> None:
        self._fork_guard = ForkGuard("server")
        self._inner: _Server = inner
        self._hooks = hooks
        self._ports: list[PortCertificate] = []
        # The registrations and the ports, for a server that has to be made again.
        self._registrations: list[Callable[[_Server], object]] = []
        self._addresses: list[tuple[str, int]] = []
        self._protected = None if wrap is None else ProtectedHandlers(wrap)
        if self._protected is not None:
            protected = self._protected
            self._register(lambda server: server.add_generic_rpc_handlers((protected,)))

    def _register(self, registration: Callable[[_Server], object]) -> None:
        self._registrations.append(registration)
        registration(self._inner)

    def add_insecure_port(self, address: str) -> int:
        """Raise ``NotPermittedError``: there is no port without client authentication."""
        _refuse_argument(f"insecure port ({address})")

    def add_secure_port(
        self, address: str, server_credentials: grpc.ServerCredentials | None = None
    ) -> int:
        """Open a port with the workload's credentials; return its number.

        Args:
            address: e.g. ``127.0.0.1:8443``, ``[::]:0``, ``unix:/run/orders.sock``.
            server_credentials: must be None: the workload's own credentials are used.
        """
        self._fork_guard.check()
        if server_credentials is not None:
            _refuse_argument("credentials of another kind")
        number = self._open_port(address)
        self._addresses.append((address, number))
        return number

    def _open_port(self, address: str) -> int:
        port = self._hooks.new_port()
        number = self._inner.add_secure_port(address, port.credentials())
        port.bind(address, number)
        self._ports.append(port)
        return number

    def _close_ports(self) -> None:
        # Another process may get the same port numbers next: connect to them no more.
        for port in self._ports:
            port.close()
        self._ports = []

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """Register handlers."""
        if self._protected is not None:
            self._protected.add_generic_rpc_handlers(generic_rpc_handlers)
            return
        handlers = tuple(generic_rpc_handlers)
        self._register(lambda server: server.add_generic_rpc_handlers(handlers))

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        """Register a service's handlers."""
        if self._protected is not None:
            method_handlers = self._protected.wrap_service(service_name, method_handlers)
        self._register(
            lambda server: server.add_registered_method_handlers(service_name, method_handlers)
        )


class AioServer(_SecureServer[grpc.aio.Server], grpc.aio.Server):
    """An asyncio server that requires a client certificate on every port.

    Otherwise it behaves like ``grpc.aio.Server``, with one exception: an error in the loop of
    gRPC's server ends that server for good. This one is started again a moment later. A path that
    is not UTF-8, which any caller can send, does not end it at all (``dispatcher_aio``).

    Args:
        make: makes gRPC's own server.
        hooks: what the server calls in its workload.
        wrap: puts handlers behind access control; None where an interceptor of the server does.
    """

    def __init__(
        self,
        make: Callable[[], grpc.aio.Server],
        hooks: ServerHooks,
        wrap: Wrap | None,
    ) -> None:
        super().__init__(make(), hooks, wrap)
        self._make = make
        self._stopping = False
        self._stopped = asyncio.Event()
        self._restarting = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._failed: dict[asyncio.Future[None], grpc.aio.Server] = {}

    async def start(self) -> None:
        """Start to serve.

        Raises:
            StateError: once the workload is closed.
        """
        self._fork_guard.check()
        self._hooks.check_usable()
        await self._inner.start()
        if self._watching is None:
            # With a weak reference: gRPC stops a server that nobody holds.
            self._watching = asyncio.create_task(_watch(weakref.ref(self)))

    async def stop(self, grace: float | None) -> None:
        """Accept no new calls, and end running ones after ``grace`` seconds."""
        self._stopping = True
        self._close_ports()
        self._hooks.on_stop()
        async with self._restarting:
            inner = self._inner
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.gather(*(item.stop(grace) for item in (inner, *self._failed.values())))
        self._stopped.set()

    async def restart_if_failed(self) -> bool:
        """Start gRPC's server again if it failed; return False if the server was stopped."""
        async with self._restarting:
            if self._stopping:
                return False
            try:
                await self._inner.wait_for_termination(0)
            except Exception as error:
                defer(log.critical, "gRPC's server has failed, and is started again: %r", error)
                await self._restart()
            return True

    async def _restart(self) -> None:
        # Its connections end at once: a call on one of them would wait for an answer forever.
        ending = asyncio.ensure_future(self._inner.stop(None))
        self._failed[ending] = self._inner
        ending.add_done_callback(self._failed.pop)
        self._close_ports()
        self._inner = self._make()
        for registration in self._registrations:
            registration(self._inner)
        for address, number in self._addresses:
            while not self._stopping:
                try:
                    self._open_port(_with_number(address, number))
                    break
                except RuntimeError as error:
                    # The failed server holds the port for another moment.
                    defer(log.warning, "%s", error)
                    await asyncio.sleep(_CHECK_SECONDS)
        await self._inner.start()

    async def wait_for_termination(  # the signature is gRPC's
        self,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> bool:
        """Wait until the server has stopped; True if time was over before."""
        try:
            await asyncio.wait_for(self._stopped.wait(), timeout)
        except TimeoutError:
            return True
        return False


async def _watch(server: weakref.ref[AioServer]) -> None:
    is_serving = True
    while is_serving:
        await asyncio.sleep(_CHECK_SECONDS)
        held = server()
        if held is None:
            return
        try:
            is_serving = await held.restart_if_failed()
        except Exception as error:
            defer(log.critical, "a server that failed could not be started again: %r", error)
        del held


def _with_number(address: str, number: int) -> str:
    """Return the address with which to open a port again under the same number."""
    if number <= 1 or ":" not in address or address.startswith("unix"):
        return address
    return f"{address.rpartition(':')[0]}:{number}"


class SyncServer(_SecureServer[grpc.Server], grpc.Server):
    """A synchronous server that requires a client certificate on every port.

    Otherwise it behaves like ``grpc.Server``.
    """

    def start(self) -> None:
        """Start to serve.

        Raises:
            StateError: once the workload is closed.
        """
        self._fork_guard.check()
        self._hooks.check_usable()
        self._inner.start()

    def stop(self, grace: float | None) -> Any:
        """Accept no new calls, and end running ones after ``grace`` seconds; return an event."""
        self._close_ports()
        self._hooks.on_stop()
        return self._inner.stop(grace)

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server has stopped."""
        return self._inner.wait_for_termination(timeout)
