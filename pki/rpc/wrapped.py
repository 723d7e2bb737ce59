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
        """Give the wrapped form of a handler."""
        kept = self._kept.get(method)
        if kept is not None and kept[0] is handler:
            return kept[1]
        wrapped = self._wrap(handler, method)
        if handler is not None and (kept is not None or len(self._kept) < _MOST):
            self._kept[method] = (handler, wrapped)
        return wrapped


def same_kind(handler: Handler, behavior: Callable[..., Any], *, raw: bool = False) -> Handler:
    """Make a handler of the same RPC kind around another behavior.

    Args:
        handler: whose kind and coding are taken.
        behavior: what it does.
        raw: has it take a request as it came, in bytes. gRPC decodes a request before it asks the
            behavior: what a caller sends would be parsed before anybody judged the caller.
    """
    make: Callable[..., Handler]
    if handler.request_streaming and handler.response_streaming:
        make = grpc.stream_stream_rpc_method_handler
    elif handler.request_streaming:
        make = grpc.stream_unary_rpc_method_handler
    elif handler.response_streaming:
        make = grpc.unary_stream_rpc_method_handler
    else:
        make = grpc.unary_unary_rpc_method_handler
    decode = None if raw else handler.request_deserializer
    return make(behavior, decode, handler.response_serializer)


def request_decoder(handler: Handler) -> Callable[[bytes], Any]:
    """Give what decodes a handler's one request, once its caller was judged.

    Streams of requests are decoded message by message, as they are read: for them this does
    nothing.
    """
    decode = handler.request_deserializer
    return _as_it_came if decode is None or handler.request_streaming else decode


def _as_it_came(request: Any) -> Any:
    return request


def behavior_of(handler: Handler) -> Callable[..., Any]:
    """Give a handler's behavior, whichever kind it is."""
    found = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    if found is None:
        raise TypeError("handler has no behavior")
    return found
