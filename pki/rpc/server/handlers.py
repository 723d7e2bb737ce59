"""Wrapped handlers, kept by method: wrapping anew for each call costs several percent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

_MOST = 1024

# In quotes: grpcio's own class takes no parameters, its type stubs' does.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Wrap: TypeAlias = "Callable[[Handler | None, str], Handler]"


class WrappedHandlers:
    """Keeps the wrapped form of each known method's handler.

    Unknown methods are wrapped anew: their names are the caller's choice, and would fill the
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
        if handler is not None and (kept is not None or len(self._kept) < _MOST):
            self._kept[method] = (handler, wrapped)
        return wrapped


def taking_a_stream(handler: Handler, behavior: Callable[..., Any]) -> Handler:
    """Make a handler around another behavior, of the same kind on the wire, that takes a stream.

    gRPC waits for a unary call's one request, on a synchronous server with a thread, and decodes
    it, before it asks the handler: whoever gets through TLS and sends none would hold that thread
    before anybody judged it. A handler of streams is asked as soon as the call begins.

    Args:
        handler: whose answers' coding is taken. One that takes a single request gets it in bytes.
        behavior: what it does.
    """
    if handler.response_streaming:
        make: Callable[..., Handler] = grpc.stream_stream_rpc_method_handler
    else:
        make = grpc.stream_unary_rpc_method_handler
    decode = handler.request_deserializer if handler.request_streaming else None
    return make(behavior, decode, handler.response_serializer)


def of_same_kind(handler: Handler, behavior: Callable[..., Any]) -> Handler:
    """Make a handler of the same kind around another behavior; a single request comes in bytes."""
    if handler.request_streaming:
        return taking_a_stream(handler, behavior)
    make: Callable[..., Handler]
    if handler.response_streaming:
        make = grpc.unary_stream_rpc_method_handler
    else:
        make = grpc.unary_unary_rpc_method_handler
    return make(behavior, None, handler.response_serializer)


def no_request(method: str) -> str:
    """Return what is said of a unary call without its one request, in gRPC's own words."""
    return f'"{method}" requires exactly one request message.'


def request_decoder(handler: Handler) -> Callable[[bytes], Any]:
    """Return what decodes a handler's one request, once its caller was judged.

    Streams of requests are decoded message by message, as they are read: for them this does
    nothing.
    """
    decode = handler.request_deserializer
    return _as_it_came if decode is None or handler.request_streaming else decode


def _as_it_came(request: Any) -> Any:
    return request


def behavior_of(handler: Handler) -> Callable[..., Any]:
    """Return a handler's behavior, whichever kind it is."""
    found = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    if found is None:
        raise TypeError("handler has no behavior")
    return found
