"""Servers that can't be had without client authentication."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

import grpc
import grpc.aio

from pki.errors import NotPermittedError
from pki.rpc.port import Port
from pki.rpc.process import MadeHere
from pki.rpc.registered import Behind, Registered

# Without this a second server binds a port that is in use without a word.
OWN_PORT = ("grpc.so_reuseport", 0)


def _refuse(what: str) -> NoReturn:
    raise NotPermittedError(
        f"a server made by Workload takes no {what}",
        remedy="Use add_secure_port(address): it takes the workload's own credentials",
    )


_Server = TypeVar("_Server", grpc.Server, grpc.aio.Server)


class _Guarded(Generic[_Server]):
    """What both kinds of server have in common.

    Args:
        inner: gRPC's own.
        new_port: makes what keeps a port's certificate fresh.
        behind: puts handlers behind the gate; None where the gate is an interceptor of ``inner``.
    """

    def __init__(self, inner: _Server, new_port: Callable[[], Port], behind: Behind | None) -> None:
        self._here = MadeHere("server")
        self._inner: _Server = inner
        self._new_port = new_port
        self._ports: list[Port] = []
        self._registered = None if behind is None else Registered(behind)
        if self._registered is not None:
            inner.add_generic_rpc_handlers((self._registered,))

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
        port = self._new_port()
        number = self._inner.add_secure_port(address, port.credentials())
        port.opened(address, number)
        self._ports.append(port)
        return number

    def _close_ports(self) -> None:
        # Whoever gets their numbers next is not ours to connect to.
        for port in self._ports:
            port.close()

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """Register handlers."""
        (self._registered or self._inner).add_generic_rpc_handlers(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        """Register a service's handlers."""
        if self._registered is not None:
            method_handlers = self._registered.service_behind(service_name, method_handlers)
        self._inner.add_registered_method_handlers(service_name, method_handlers)


class AioServer(_Guarded[grpc.aio.Server], grpc.aio.Server):
    """An asyncio server whose every port asks for a client certificate.

    All else is that of ``grpc.aio.Server``.
    """

    async def start(self) -> None:
        """Begin to serve."""
        self._here.check()
        await self._inner.start()

    async def stop(self, grace: float | None) -> None:
        """Take no new calls, and end those that run after ``grace`` seconds."""
        self._close_ports()
        await self._inner.stop(grace)

    async def wait_for_termination(  # the signature is gRPC's
        self,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> bool:
        """Wait until the server has stopped."""
        return await self._inner.wait_for_termination(timeout)


class SyncServer(_Guarded[grpc.Server], grpc.Server):
    """A synchronous server whose every port asks for a client certificate.

    All else is that of ``grpc.Server``.
    """

    def start(self) -> None:
        """Begin to serve."""
        self._here.check()
        self._inner.start()

    def stop(self, grace: float | None) -> Any:
        """Take no new calls, and end those that run after ``grace`` seconds; give an event."""
        self._close_ports()
        return self._inner.stop(grace)

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server has stopped."""
        return self._inner.wait_for_termination(timeout)
