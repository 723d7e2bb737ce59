"""The interceptor of synchronous servers, and of plain functions in asyncio servers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, NoReturn

import grpc

from pki.access import opentelemetry
from pki.access.authorizer import AuthContext
from pki.access.peer import CURRENT_PEER, Peer
from pki.access.refusal import Refusal
from pki.background import defer
from pki.rpc.server.access_control import LATE_SECONDS, AccessControl
from pki.rpc.server.handlers import (
    Handler,
    WrappedHandlers,
    behavior_of,
    no_request,
    request_decoder,
    taking_a_stream,
)

log = logging.getLogger("handfast.rpc")

_Take = Callable[[Any, Any, AuthContext], bytes]


class SyncAuthInterceptor(grpc.ServerInterceptor):
    """Lets a call through to its handler once the gate has answered for it."""

    def __init__(self, gate: AccessControl) -> None:
        self.gate = gate
        self._wrapped = WrappedHandlers(lambda handler, method: _wrap(gate, handler, method))

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the method's handler, unknown methods' too."""
        method = handler_call_details.method
        try:
            handler = continuation(handler_call_details)
        except Exception as error:
            # Whoever stands behind the gate has failed for a caller that nobody has judged yet.
            return _failing(self.gate, error, method)
        return self.behind(handler, method)

    def behind(self, handler: Handler | None, method: str) -> Handler:
        """Return the wrapped form of a method's handler; None stands for a method without one."""
        return self._wrapped.get(handler, method)


def admit(gate: AccessControl, method: str, context: Any) -> tuple[Peer, AuthContext]:
    """Ask the gate, and end the call with a structured status if it refuses."""
    auth = context.auth_context()
    judgement = gate.ask(auth, method)
    opentelemetry.mark(judgement, auth)
    if judgement.refusal is not None or judgement.peer is None:
        abort(context, judgement.refusal)
    return judgement.peer, auth


class _EndedError(Exception):
    """The call's status is set: its handler has only to return."""


def abort(context: Any, refusal: Refusal | None) -> NoReturn:
    """End a call with a refusal."""
    code, words = grpc.StatusCode.INTERNAL, "judged without an answer"
    if refusal is not None:
        context.set_trailing_metadata(refusal.trailing_metadata())
        code, words = refusal.code, refusal.message
    _end(context, code, words)


def _end(context: Any, code: grpc.StatusCode, words: str) -> NoReturn:
    if isinstance(context, grpc.ServicerContext):
        context.abort(code, words)
    # In an asyncio server abort() waits for the event loop: without end if that has stopped.
    context.set_code(code)
    context.set_details(words)
    raise _EndedError


def _failing(gate: AccessControl, error: Exception, method: str) -> Handler:
    """Return the handler of a method whose own could not be found: it fails, for whom it may tell."""

    def fail(_requests: Any, context: Any) -> Iterator[Any]:
        admit(gate, method, context)
        raise error
        yield

    return grpc.stream_stream_rpc_method_handler(fail)


def guarded(gate: AccessControl, handler: Handler, method: str, take: _Take) -> Callable[..., Any]:
    """Return a plain function's guarded form.

    Args:
        gate: judges each call.
        handler: the function's.
        method: its path.
        take: gives the one request, in bytes, of what gRPC hands over; it is asked once the caller
            was judged.
    """
    inner, decode = behavior_of(handler), request_decoder(handler)

    def answer(request: Any, context: Any) -> Any:
        peer, auth = admit(gate, method, context)
        token = CURRENT_PEER.set(peer)
        try:
            return inner(_decoded(decode, take(request, context, auth), context), context)
        finally:
            CURRENT_PEER.reset(token)

    def gather(requests: Any, context: Any) -> Any:
        peer, auth = admit(gate, method, context)
        token = CURRENT_PEER.set(peer)
        watched = _Watched(gate, auth, method, context)
        try:
            result = inner(watched.reading(requests), context)
            watched.stop_if_ended()
            return result
        finally:
            watched.discard()
            CURRENT_PEER.reset(token)

    def stream(request: Any, context: Any) -> Iterator[Any]:
        peer, auth = admit(gate, method, context)
        token = CURRENT_PEER.set(peer)
        watched = _Watched(gate, auth, method, context)
        try:
            if handler.request_streaming:
                asked = watched.reading(request)
            else:
                asked = _decoded(decode, take(request, context, auth), context)
            for item in inner(asked, context):
                watched.stop_if_ended()
                yield item
        finally:
            watched.discard()
            CURRENT_PEER.reset(token)

    if handler.response_streaming:
        return stream
    return gather if handler.request_streaming else answer


def _first_of(gate: AccessControl, method: str) -> _Take:
    def take(requests: Iterator[bytes], context: Any, auth: AuthContext) -> bytes:
        judged = monotonic()
        for request in requests:
            if monotonic() - judged > LATE_SECONDS:
                refusal = gate.refusal_since(auth, method)
                if refusal is not None:
                    abort(context, refusal)
            return request
        return _end(context, grpc.StatusCode.UNIMPLEMENTED, no_request(method))

    return take


def _as_it_came(request: bytes, _context: Any, _auth: AuthContext) -> bytes:
    return request


def _decoded(decode: Callable[[bytes], Any], request: Any, context: Any) -> Any:
    try:
        return decode(request)
    except Exception as error:
        defer(log.error, "a request can't be decoded: %r", error)
        # In gRPC's own words, and with its code.
        _end(context, grpc.StatusCode.INTERNAL, "Exception deserializing request!")


def guarded_in_thread(gate: AccessControl, handler: Handler, method: str) -> Callable[..., Any]:
    """Return the guarded form of a plain function that an asyncio server runs in a thread."""
    behavior = guarded(gate, handler, method, _as_it_came)

    def answer(request: Any, context: Any) -> Any:
        try:
            return behavior(request, context)
        except _EndedError:
            return None

    def answers(request: Any, context: Any) -> Iterator[Any]:
        try:
            yield from behavior(request, context)
        except _EndedError:
            return

    return answers if handler.response_streaming else answer


def _wrap(gate: AccessControl, handler: Handler | None, method: str) -> Handler:
    if handler is None:

        def unknown(_requests: Any, context: Any) -> Iterator[Any]:
            admit(gate, method, context)
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            yield

        return grpc.stream_stream_rpc_method_handler(unknown)
    gate.counts.knows(method)
    return taking_a_stream(handler, guarded(gate, handler, method, _first_of(gate, method)))


class _Watched:
    """A running stream that is ended from another thread."""

    def __init__(self, gate: AccessControl, auth: AuthContext, method: str, context: Any) -> None:
        self._gate = gate
        self._context = context
        self._refusal: Refusal | None = None
        self._span = opentelemetry.recording_span()
        self._number = gate.watch(auth, method, self._end)

    def discard(self) -> None:
        self._gate.streams.discard(self._number)
        # Here, and not where it is ended: nothing stands before that, and the span is still open.
        opentelemetry.mark_ended(self._span, self._refusal)

    def stop_if_ended(self) -> None:
        if self._refusal is not None:
            abort(self._context, self._refusal)

    def reading(self, requests: Iterator[Any]) -> Iterator[Any]:
        """Return a stream of requests that ends with the call.

        In a synchronous server gRPC ends it by itself when the call is cancelled.
        """
        return requests if hasattr(self._context, "cancel") else self._until_ended(requests)

    def _until_ended(self, requests: Iterator[Any]) -> Iterator[Any]:
        for item in requests:
            self.stop_if_ended()
            yield item

    def _end(self, refusal: Refusal) -> None:
        is_first = self._refusal is None
        self._refusal = self._refusal or refusal
        # A synchronous call can be cancelled from here, and takes no words along. A plain function
        # in an asyncio server has no such handle: it is ended at its next message.
        cancel = getattr(self._context, "cancel", None)
        if cancel is not None:
            cancel()
        if is_first:
            self._gate.note_ended(refusal)
