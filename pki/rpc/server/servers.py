"""Servers that can't be had without client authentication."""

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
from pki.rpc.server.port_certificate import PortCertificate
from pki.rpc.server.registered import Protect, ProtectedHandlers

log = logging.getLogger("handfast.rpc")

_CHECK_SECONDS = 0.2

# A good client's handshake takes milliseconds; gRPC's own bound is two minutes.
_HANDSHAKE_MILLISECONDS = 10_000
# Descriptors that are left to all but connections: our own files, channels, the user's.
_LEAST_LEFT, _PART_LEFT = 64, 4
_MOST_CONNECTIONS = 100_000


def server_options() -> list[tuple[str, int]]:
    """Return what a server is told where its user says nothing else.

    Of an option that is given twice gRPC takes the first: these stand behind the user's.
    """
    return [
        # Without this a second server binds a port that is in use without a word.
        ("grpc.so_reuseport", 0),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MILLISECONDS),
        # For each port. Those over it are closed at once, before a handshake.
        ("grpc.max_allowed_incoming_connections", _most_connections()),
    ]


def _most_connections() -> int:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    # Of very few, half.
    left = min(max(_LEAST_LEFT, most // _PART_LEFT), most // 2)
    return max(1, min(most - left, _MOST_CONNECTIONS))


def _refuse(what: str) -> NoReturn:
    raise NotPermittedError(
        f"a server made by Workload takes no {what}",
        remedy="Use add_secure_port(address): it takes the workload's own credentials",
    )


@dataclass(frozen=True, slots=True)
class ServerHooks:
    """What a server has of the workload that made it.

    Args:
        new_port: makes what keeps a port's certificate fresh.
        check: raises where the workload is closed: nobody would notice a revocation.
        stopped: is told when the server takes no new calls any more.
    """

    new_port: Callable[[], PortCertificate]
    check: Callable[[], None]
    stopped: Callable[[], None]


_Server = TypeVar("_Server", grpc.Server, grpc.aio.Server)


class _SecureServer(Generic[_Server]):
    """What both kinds of server have in common.

    Args:
        inner: gRPC's own.
        home: what it has of its workload.
        behind: puts handlers behind the gate; None where the gate is an interceptor of ``inner``.
    """

    def __init__(self, inner: _Server, home: ServerHooks, behind: Protect | None) -> None:
        self._here = ForkGuard("server")
        self._inner: _Server = inner
        self._home = home
        self._ports: list[PortCertificate] = []
        # What was registered and opened, for a server that has to be made again.
        self._registrations: list[Callable[[_Server], object]] = []
        self._addresses: list[tuple[str, int]] = []
        self._registered = None if behind is None else ProtectedHandlers(behind)
        if self._registered is not None:
            found = self._registered
            self._register(lambda server: server.add_generic_rpc_handlers((found,)))

    def _register(self, registration: Callable[[_Server], object]) -> None:
        self._registrations.append(registration)
        registration(self._inner)

    def add_insecure_port(self, address: str) -> int:
        """Refuse: there is no port without client authentication."""
        _refuse(f"insecure port ({address})")

    def add_secure_port(
        self, address: str, server_credentials: grpc.ServerCredentials | None = None
    ) -> int:
        """Open a port with the workload's credentials; give its number.

        Args:
            address: e.g. ``127.0.0.1:8443``, ``[::]:0``, ``unix:/run/orders.sock``.
            server_credentials: none: the workload's own are taken.
        """
        self._here.check()
        if server_credentials is not None:
            _refuse("credentials of another kind")
        number = self._open_port(address)
        self._addresses.append((address, number))
        return number

    def _open_port(self, address: str) -> int:
        port = self._home.new_port()
        number = self._inner.add_secure_port(address, port.credentials())
        port.opened(address, number)
        self._ports.append(port)
        return number

    def _close_ports(self) -> None:
        # Whoever gets their numbers next is not ours to connect to.
        for port in self._ports:
            port.close()
        self._ports = []

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """Register handlers."""
        if self._registered is not None:
            self._registered.add_generic_rpc_handlers(generic_rpc_handlers)
            return
        found = tuple(generic_rpc_handlers)
        self._register(lambda server: server.add_generic_rpc_handlers(found))

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        """Register a service's handlers."""
        if self._registered is not None:
            method_handlers = self._registered.service_behind(service_name, method_handlers)
        self._register(
            lambda server: server.add_registered_method_handlers(service_name, method_handlers)
        )


class AioServer(_SecureServer[grpc.aio.Server], grpc.aio.Server):
    """An asyncio server whose every port asks for a client certificate.

    All else is that of ``grpc.aio.Server``, but for one thing: gRPC's falls for good over what goes
    wrong in its own loop. This one is up again a moment later; a path that is not UTF-8, which any
    caller can send, makes it fall no more (``dispatch_aio``).

    Args:
        make: makes gRPC's own.
        home: what it has of its workload.
        behind: puts handlers behind the gate; None where the gate is an interceptor of its own.
    """

    def __init__(
        self,
        make: Callable[[], grpc.aio.Server],
        home: ServerHooks,
        behind: Protect | None,
    ) -> None:
        super().__init__(make(), home, behind)
        self._make = make
        self._stopping = False
        self._stopped = asyncio.Event()
        self._raising = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._fallen: dict[asyncio.Future[None], grpc.aio.Server] = {}

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            StateError: once the workload is closed.
        """
        self._here.check()
        self._home.check()
        await self._inner.start()
        if self._watching is None:
            # By a weak reference: gRPC stops a server that nobody holds.
            self._watching = asyncio.create_task(_watch(weakref.ref(self)))

    async def stop(self, grace: float | None) -> None:
        """Take no new calls, and end those that run after ``grace`` seconds."""
        self._stopping = True
        self._close_ports()
        self._home.stopped()
        async with self._raising:
            inner = self._inner
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.gather(*(item.stop(grace) for item in (inner, *self._fallen.values())))
        self._stopped.set()

    async def raise_if_fallen(self) -> bool:
        """Serve again if gRPC's server has fallen; False if there is nothing to watch any more."""
        async with self._raising:
            if self._stopping:
                return False
            try:
                await self._inner.wait_for_termination(0)
            except Exception as error:
                defer(log.critical, "gRPC's server has fallen, and is started again: %r", error)
                await self._raise()
            return True

    async def _raise(self) -> None:
        # Its connections end at once: a call on one of them would wait for an answer in vain.
        ending = asyncio.ensure_future(self._inner.stop(None))
        self._fallen[ending] = self._inner
        ending.add_done_callback(self._fallen.pop)
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
                    # Held for a moment yet by the one that fell.
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
    going_on = True
    while going_on:
        await asyncio.sleep(_CHECK_SECONDS)
        found = server()
        if found is None:
            return
        try:
            going_on = await found.raise_if_fallen()
        except Exception as error:
            defer(log.critical, "a server that fell could not be started again: %r", error)
        del found


def _with_number(address: str, number: int) -> str:
    """Return the address of a port that was open, for opening it again."""
    if number <= 1 or ":" not in address or address.startswith("unix"):
        return address
    return f"{address.rpartition(':')[0]}:{number}"


class SyncServer(_SecureServer[grpc.Server], grpc.Server):
    """A synchronous server whose every port asks for a client certificate.

    All else is that of ``grpc.Server``.
    """

    def start(self) -> None:
        """Begin to serve.

        Raises:
            StateError: once the workload is closed.
        """
        self._here.check()
        self._home.check()
        self._inner.start()

    def stop(self, grace: float | None) -> Any:
        """Take no new calls, and end those that run after ``grace`` seconds; give an event."""
        self._close_ports()
        self._home.stopped()
        return self._inner.stop(grace)

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server has stopped."""
        return self._inner.wait_for_termination(timeout)
