"""Handlers behind access control, which runs first: each is wrapped when it is registered.

A wrapped handler is kept by method: to wrap it again for each call costs several percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import grpc

_MOST_METHODS = 1024

# In quotes: grpcio's own class takes no parameters, the class in its type stubs does.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Wrap: TypeAlias = "Callable[[Handler | None, str], Handler]"


class ProtectedHandlers(grpc.GenericRpcHandler):
    """The one generic handler that gRPC is given: it holds those of the server's owner.

    Unknown methods have a handler too, so that a caller without a grant is refused like any other,
    and does not learn which methods there are.

    Args:
        wrap: wraps a method's handler; None stands for a method without one.
    """

    def __init__(self, wrap: Wrap) -> None:
        self._wrap = wrap
        self._find: tuple[Callable[[grpc.HandlerCallDetails], Handler | None], ...] = ()

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Add handlers; those that were added first are asked first."""
        self._find = (*self._find, *(handler.service for handler in handlers))

    def wrap_service(self, service: str, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """Return the wrapped handlers of a service, by the name of the method."""
        return {
            name: self._wrap(handler, f"/{service}/{name}") for name, handler in handlers.items()
        }

    def service(self, handler_call_details: Any) -> Handler:
        """Return the wrapped handler of a method."""
        for find in self._find:
            handler = find(handler_call_details)
            if handler is not None:
                return self._wrap(handler, handler_call_details.method)
        return self._wrap(None, handler_call_details.method)


class WrappedHandlers:
    """The wrapped form of each known method's handler.

    Unknown methods are wrapped again for each call: callers choose their names, and would fill the
    memory.
    """

    def __init__(self, wrap: Wrap) -> None:
        self._wrap = wrap
        self._kept: dict[str, tuple[Handler, Handler]] = {}

    def get(self, handler: Handler | None, method: str) -> Handler:
        """Return the wrapped form of a handler."""
        kept = self._kept.get(method)
        if kept is not None and kept[0] is handler:
            return kept[1]
        wrapped = self._wrap(handler, method)
        if handler is not None and (kept is not None or len(self._kept) < _MOST_METHODS):
            self._kept[method] = (handler, wrapped)
        return wrapped


def stream_handler(handler: Handler, behavior: Callable[..., Any]) -> Handler:
    """Return a handler that reads a stream and runs another behavior; on the wire it is the same.

    gRPC reads and decodes the one request of a unary call before it calls the handler; a
    synchronous server holds a thread for that. A peer that gets through TLS and sends no request
    would hold that thread before it was authorized. A handler of streams is called as soon as the
    call begins.

    Args:
        handler: the encoding of its responses is kept. If it takes a single request, the new
            handler gets that request as bytes.
        behavior: the new behavior.
    """
    if handler.response_streaming:
        make: Callable[..., Handler] = grpc.stream_stream_rpc_method_handler
    else:
        make = grpc.stream_unary_rpc_method_handler
    decode = handler.request_deserializer if handler.request_streaming else None
    return make(behavior, decode, handler.response_serializer)


def same_kind_handler(handler: Handler, behavior: Callable[..., Any]) -> Handler:
    """Return a handler of the same kind for another behavior; a single request comes as bytes."""
    if handler.request_streaming:
        return stream_handler(handler, behavior)
    make: Callable[..., Handler]
    if handler.response_streaming:
        make = grpc.unary_stream_rpc_method_handler
    else:
        make = grpc.unary_unary_rpc_method_handler
    return make(behavior, None, handler.response_serializer)


def missing_request_message(method: str) -> str:
    """Return gRPC's own message for a unary call that came without its request."""
    return f'"{method}" requires exactly one request message.'


def request_decoder(handler: Handler) -> Callable[[bytes], Any]:
    """Return a function that decodes a handler's single request, once its caller was authorized.

    Streams of requests are decoded message by message, as they are read: for those the function
    returns what it gets.
    """
    decode = handler.request_deserializer
    return _unchanged if decode is None or handler.request_streaming else decode


def _unchanged(request: Any) -> Any:
    return request


def behavior_of(handler: Handler) -> Callable[..., Any]:
    """Return a handler's behavior, whichever kind it is."""
    behavior = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    if behavior is None:
        raise TypeError("handler has no behavior")
    return behavior
