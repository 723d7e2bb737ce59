"""The floor: handlers that only ask gRPC who calls, and ignore the answer.

Everybody who authenticates each call pays this much, because there is no cheaper way to the
certificate. The handlers are wrapped at registration, as handfast's are; an interceptor costs more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from pki.rpc.server.handlers import Handler, ProtectedHandlers, Wrap, WrappedHandlers, behavior_of


def _asking(handler: Handler | None, _: str) -> Handler:
    assert handler is not None
    inner = behavior_of(handler)

    async def answer(request: Any, context: Any) -> Any:
        context.auth_context()
        return await inner(request, context)

    return _around(handler, answer)


def _asking_sync(handler: Handler | None, _: str) -> Handler:
    assert handler is not None
    inner = behavior_of(handler)

    def answer(request: Any, context: Any) -> Any:
        context.auth_context()
        return inner(request, context)

    return _around(handler, answer)


def _around(handler: Handler, behavior: Any) -> Handler:
    return grpc.unary_unary_rpc_method_handler(
        behavior, handler.request_deserializer, handler.response_serializer
    )


class FloorServer:
    """A bare gRPC server whose unary handlers ask who calls.

    Args:
        inner: the server.
        kind: ``aio`` or ``sync``.
    """

    def __init__(self, inner: Any, kind: str) -> None:
        self._inner = inner
        behind: Wrap = WrappedHandlers(_asking if kind == "aio" else _asking_sync).get
        self._registered = ProtectedHandlers(behind)
        inner.add_generic_rpc_handlers((self._registered,))

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the server."""
        return getattr(self._inner, name)

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Register handlers."""
        self._registered.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register a service's handlers."""
        asking = self._registered.wrap_service(service, handlers)
        self._inner.add_registered_method_handlers(service, asking)
