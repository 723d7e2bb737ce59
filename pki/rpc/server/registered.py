"""The handlers of one server, each behind its gate from the moment that it is registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import grpc

from pki.rpc.server.handlers import Handler

Protect: TypeAlias = "Callable[[Handler | None, str], Handler]"


class ProtectedHandlers(grpc.GenericRpcHandler):
    """The one generic handler that gRPC is given: it holds those of the server's owner.

    Unknown methods have a handler too, so that a caller without a grant is refused like any other,
    and learns nothing of which methods there are.

    Args:
        behind: puts a method's handler behind the gate; None stands for a method without one.
    """

    def __init__(self, behind: Protect) -> None:
        self._behind = behind
        self._find: tuple[Callable[[grpc.HandlerCallDetails], Handler | None], ...] = ()

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Take more handlers; those that came first are asked first."""
        self._find = (*self._find, *(handler.service for handler in handlers))

    def service_behind(self, service: str, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """Return the handlers of a service behind the gate, by the method's name."""
        return {
            name: self._behind(handler, f"/{service}/{name}") for name, handler in handlers.items()
        }

    def service(self, handler_call_details: Any) -> Handler:
        """Find a method's handler, and give it behind the gate."""
        for find in self._find:
            found = find(handler_call_details)
            if found is not None:
                return self._behind(found, handler_call_details.method)
        return self._behind(None, handler_call_details.method)
