"""The authorizing interceptor of synchronous servers, and of plain functions in asyncio servers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, NoReturn

import grpc

from pki.access import opentelemetry
from pki.access.authorizer import AuthContext
from pki.access.opentelemetry import MODULES, TRACING
from pki.access.peer import CURRENT_PEER, Peer
from pki.access.refusal import Refusal
from pki.background import defer
from pki.rpc.server.access_control import REAUTHORIZE_AFTER_SECONDS, AccessControl, Authorize
from pki.rpc.server.handlers import (
    Handler,
    WrappedHandlers,
    behavior_of,
    missing_request_message,
    request_decoder,
    stream_handler,
)
from pki.rpc.status import status_code, trailing_metadata

log = logging.getLogger("handfast.rpc")

# Returns the single request, as bytes, from what gRPC passes to the behavior.
_ReadRequest = Callable[[Any, Any, AuthContext], bytes]


class SyncAuthInterceptor(grpc.ServerInterceptor):
    """Calls a handler only after access control has allowed the call."""

    def __init__(self, access: AccessControl) -> None:
        self.access = access
        self._wrapped = WrappedHandlers(lambda handler, method: _wrap(access, handler, method))

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the wrapped handler of the method; an unknown method has one too."""
        method = handler_call_details.method
        try:
            handler = continuation(handler_call_details)
        except Exception as error:
            # An inner interceptor failed before the caller was authorized.
            return _failing_handler(self.access, error, method)
        return self.wrap(handler, method)

    def wrap(self, handler: Handler | None, method: str) -> Handler:
        """Return the wrapped form of a method's handler; None stands for a method without one."""
        return self._wrapped.get(handler, method)


def _admit(authorize: Authorize, context: Any) -> tuple[Peer, AuthContext]:
    """Authorize a call; end it with a structured status if it is refused."""
    auth = context.auth_context()
    verdict = authorize(auth)
    if TRACING in MODULES:
        opentelemetry.annotate_call(verdict, auth)
    if verdict.refusal is not None or verdict.peer is None:
        abort(context, verdict.refusal)
    return verdict.peer, auth


class _AbortedError(Exception):
    """The call has its status: its handler has only to return."""


def abort(context: Any, refusal: Refusal | None) -> NoReturn:
    """End a call with a refusal."""
    code = grpc.StatusCode.INTERNAL
    message = "the verdict holds neither a peer nor a refusal: please report this"
    if refusal is not None:
        context.set_trailing_metadata(trailing_metadata(refusal))
        code, message = status_code(refusal), refusal.message
    _abort_with(context, code, message)


def _abort_with(context: Any, code: grpc.StatusCode, message: str) -> NoReturn:
    if isinstance(context, grpc.ServicerContext):
        context.abort(code, message)
    # In an asyncio server abort() waits for the event loop: forever, if the loop has stopped.
    context.set_code(code)
    context.set_details(message)
    raise _AbortedError


def _failing_handler(access: AccessControl, error: Exception, method: str) -> Handler:
    """Return a handler that raises an error, for callers that may call the method."""

    def fail(_requests: Any, context: Any) -> Iterator[Any]:
        _admit(lambda auth: access.authorize(auth, method), context)
        raise error
        yield

    return grpc.stream_stream_rpc_method_handler(fail)


def protect(
    access: AccessControl, handler: Handler, method: str, read_request: _ReadRequest
) -> Callable[..., Any]:
    """Return the behavior of a plain function behind access control.

    Args:
        access: authorizes each call.
        handler: the handler of the function.
        method: the path of its method.
        read_request: returns the single request; called after the caller was authorized.
    """
    inner, decode = behavior_of(handler), request_decoder(handler)
    authorize = access.authorizer_of(method)

    def unary(request: Any, context: Any) -> Any:
        peer, auth = _admit(authorize, context)
        token = CURRENT_PEER.set(peer)
        try:
            return inner(_decode(decode, read_request(request, context, auth), context), context)
        finally:
            CURRENT_PEER.reset(token)

    def stream_unary(requests: Any, context: Any) -> Any:
        peer, auth = _admit(authorize, context)
        token = CURRENT_PEER.set(peer)
        stream = _SyncStream(access, auth, method, context)
        try:
            result = inner(stream.reading(requests), context)
            stream.abort_if_refused()
            return result
        finally:
            stream.remove()
            CURRENT_PEER.reset(token)

    def any_stream(request: Any, context: Any) -> Iterator[Any]:
        peer, auth = _admit(authorize, context)
        token = CURRENT_PEER.set(peer)
        stream = _SyncStream(access, auth, method, context)
        try:
            if handler.request_streaming:
                argument = stream.reading(request)
            else:
                argument = _decode(decode, read_request(request, context, auth), context)
            for item in inner(argument, context):
                stream.abort_if_refused()
                yield item
        finally:
            stream.remove()
            CURRENT_PEER.reset(token)

    if handler.response_streaming:
        return any_stream
    return stream_unary if handler.request_streaming else unary


def protect_in_thread(access: AccessControl, handler: Handler, method: str) -> Callable[..., Any]:
    """Return the behavior of a plain function that an asyncio server runs in a thread."""
    behavior = protect(access, handler, method, _unchanged)

    def unary(request: Any, context: Any) -> Any:
        try:
            return behavior(request, context)
        except _AbortedError:
            return None

    def stream(request: Any, context: Any) -> Iterator[Any]:
        try:
            yield from behavior(request, context)
        except _AbortedError:
            return

    return stream if handler.response_streaming else unary


def _wrap(access: AccessControl, handler: Handler | None, method: str) -> Handler:
    if handler is None:

        def unknown(_requests: Any, context: Any) -> Iterator[Any]:
            _admit(lambda auth: access.authorize(auth, method), context)
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            yield

        return grpc.stream_stream_rpc_method_handler(unknown)
    access.counters.register_method(method)
    read_request = _first_request_of(access, method)
    return stream_handler(handler, protect(access, handler, method, read_request))


def _first_request_of(access: AccessControl, method: str) -> _ReadRequest:
    def read_request(requests: Iterator[bytes], context: Any, auth: AuthContext) -> bytes:
        authorized_at = monotonic()
        for request in requests:
            if monotonic() - authorized_at > REAUTHORIZE_AFTER_SECONDS:
                refusal = access.reauthorize(auth, method)
                if refusal is not None:
                    abort(context, refusal)
            return request
        _abort_with(context, grpc.StatusCode.UNIMPLEMENTED, missing_request_message(method))

    return read_request


def _unchanged(request: bytes, _context: Any, _auth: AuthContext) -> bytes:
    return request


def _decode(decode: Callable[[bytes], Any], request: Any, context: Any) -> Any:
    try:
        return decode(request)
    except Exception as error:
        defer(log.error, "a request can't be decoded: %r", error)
        # gRPC's own message and code for this.
        _abort_with(context, grpc.StatusCode.INTERNAL, "Exception deserializing request!")


class _SyncStream:
    """A running stream that is ended from another thread."""

    def __init__(self, access: AccessControl, auth: AuthContext, method: str, context: Any) -> None:
        self._access = access
        self._context = context
        self._refusal: Refusal | None = None
        self._span = opentelemetry.recording_span()
        self._number = access.add_stream(auth, method, self._end)

    def remove(self) -> None:
        self._access.streams.remove(self._number)
        # Here and not in _end(): nothing may delay that, and the span is still open here.
        opentelemetry.annotate_stream_end(self._span, self._refusal)

    def abort_if_refused(self) -> None:
        if self._refusal is not None:
            abort(self._context, self._refusal)

    def reading(self, requests: Iterator[Any]) -> Iterator[Any]:
        """Return the requests, as an iterator that ends with the call.

        In a synchronous server gRPC ends its own iterator when the call is cancelled.
        """
        return requests if hasattr(self._context, "cancel") else self._until_refused(requests)

    def _until_refused(self, requests: Iterator[Any]) -> Iterator[Any]:
        for item in requests:
            self.abort_if_refused()
            yield item

    def _end(self, refusal: Refusal) -> None:
        is_first = self._refusal is None
        self._refusal = self._refusal or refusal
        # A synchronous call can be cancelled from another thread, without a message. A plain
        # function in an asyncio server can't: it is ended at its next message.
        cancel = getattr(self._context, "cancel", None)
        if cancel is not None:
            cancel()
        if is_first:
            self._access.count_ended(refusal)
