"""The authorizing interceptor of asyncio servers."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from pki.access import opentelemetry
from pki.access.authorizer import AuthContext
from pki.access.opentelemetry import MODULES, TRACING
from pki.access.peer import CURRENT_PEER
from pki.access.refusal import Refusal
from pki.rpc.server import interceptor_sync
from pki.rpc.server.access_control import REAUTHORIZE_AFTER_SECONDS, AccessControl, Authorize
from pki.rpc.server.handlers import (
    Handler,
    WrappedHandlers,
    behavior_of,
    missing_request_message,
    request_decoder,
    same_kind_handler,
    stream_handler,
)
from pki.rpc.status import status_code, trailing_metadata

_Behavior = Callable[..., Any]
_Decode = Callable[[bytes], Any]
# Returns the handler's argument from what gRPC passes to the behavior.
_ReadRequest = Callable[[Any, Any, AuthContext], Awaitable[Any]]


class AioAuthInterceptor(grpc.aio.ServerInterceptor):
    """Calls a handler only after access control has allowed the call."""

    def __init__(self, access: AccessControl) -> None:
        self.access = access
        self._wrapped = WrappedHandlers(lambda handler, method: _wrap(access, handler, method))

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the wrapped handler of the method; an unknown method has one too."""
        method = handler_call_details.method
        try:
            handler = await continuation(handler_call_details)
        except Exception as error:
            # An inner interceptor failed before the caller was authorized.
            return _failing_handler(self.access, error, method)
        return self.wrap(handler, method)

    def wrap(self, handler: Handler | None, method: str) -> Handler:
        """Return the wrapped form of a method's handler; None stands for a method without one."""
        return self._wrapped.get(handler, method)


class _AioStream:
    """A running stream that is ended from another thread, with a status for the caller.

    Its task is cancelled at each recheck until it has ended: a cancellation can get lost, in a
    handler's ``except`` or in ``asyncio.wait_for``. If the handler goes on all the same, the call
    is aborted under it.
    """

    def __init__(self, access: AccessControl, auth: AuthContext, method: str, context: Any) -> None:
        self._access = access
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._refusal: Refusal | None = None
        self._is_over = False
        self.is_writing = False
        """Whether the task is inside a write of gRPC, which must not be cancelled."""
        self._aborting: asyncio.Future[None] | None = None
        self._span = opentelemetry.recording_span()
        self._number = access.add_stream(auth, method, self._end)

    def __enter__(self) -> _AioStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._access.streams.remove(self._number)
        # Here and not in _end(): nothing may delay that, and the span is still open here.
        opentelemetry.annotate_stream_end(self._span, self._refusal)

    async def abort_if_refused(self) -> bool:
        """End the call with its refusal; return whether there was one.

        To be called after a cancellation, and around each write.
        """
        if self._refusal is None:
            return False
        self._is_over = True
        if self._task is not None and hasattr(self._task, "uncancel"):
            self._task.uncancel()
        if self._aborting is None:
            await _abort(self._context, self._refusal)
        else:
            # A handler that returned before the abort would be reported as a success.
            await asyncio.wait({self._aborting})
        return True

    def _end(self, refusal: Refusal) -> None:
        is_first = self._refusal is None
        self._refusal = self._refusal or refusal
        # A loop that has closed has ended the stream already.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel if is_first else self._abort_from_outside)
        if is_first:
            self._access.count_ended(refusal)

    def _cancel(self) -> None:
        if self._task is not None and not self._is_over and not self.is_writing:
            self._task.cancel()

    def _abort_from_outside(self) -> None:
        if not self._is_over:
            self._aborting = self._aborting or asyncio.ensure_future(self._abort_quietly())
            self.is_writing = False
            self._cancel()

    async def _abort_quietly(self) -> None:
        # gRPC raises in the task that aborts a call.
        with contextlib.suppress(Exception):
            await _abort(self._context, self._refusal)


async def _admit(authorize: Authorize, context: Any) -> AuthContext:
    """Authorize a call, and set its peer for the handler; end the call if it is refused.

    Each call runs in a task of its own, so nothing has to be reset.
    """
    auth: AuthContext = context.auth_context()
    verdict = authorize(auth)
    if TRACING in MODULES:
        opentelemetry.annotate_call(verdict, auth)
    if verdict.peer is None:
        await _abort(context, verdict.refusal)
    assert verdict.peer is not None
    CURRENT_PEER.set(verdict.peer)
    return auth


async def _abort(context: Any, refusal: Refusal | None) -> None:
    if refusal is None:
        await context.abort(
            grpc.StatusCode.INTERNAL,
            "the verdict holds neither a peer nor a refusal: please report this",
        )
    else:
        await context.abort(status_code(refusal), refusal.message, trailing_metadata(refusal))


def _wrap(access: AccessControl, handler: Handler | None, method: str) -> Handler:
    if handler is None:

        async def unknown(_requests: Any, context: Any) -> AsyncIterator[Any]:
            await _admit(lambda auth: access.authorize(auth, method), context)
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            yield

        return grpc.stream_stream_rpc_method_handler(unknown)
    access.counters.register_method(method)
    inner = behavior_of(handler)
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        return stream_handler(handler, _protect(access, handler, method))
    # gRPC runs a plain function in a thread of its own, once its request has arrived.
    behavior = interceptor_sync.protect_in_thread(access, handler, method)
    return same_kind_handler(handler, behavior)


def _failing_handler(access: AccessControl, error: Exception, method: str) -> Handler:
    """Return a handler that raises an error, for callers that may call the method."""

    async def fail(_requests: Any, context: Any) -> AsyncIterator[Any]:
        await _admit(lambda auth: access.authorize(auth, method), context)
        raise error
        yield

    return grpc.stream_stream_rpc_method_handler(fail)


def _protect(access: AccessControl, handler: Handler, method: str) -> _Behavior:
    inner, read_request = behavior_of(handler), _request_reader(access, handler, method)
    if inspect.isasyncgenfunction(inner):
        return _generator(access, inner, read_request, method)
    if handler.response_streaming:
        return _writer(access, inner, read_request, method)
    if handler.request_streaming:
        return _stream(access, inner, read_request, method)
    return _unary(access, inner, request_decoder(handler), method)


def _request_reader(access: AccessControl, handler: Handler, method: str) -> _ReadRequest:
    """Return a function that reads and decodes a single request; a stream is left as it is."""
    if handler.request_streaming:
        return _unchanged
    decode = request_decoder(handler)

    async def read_request(_requests: Any, context: Any, auth: AuthContext) -> Any:
        authorized_at = monotonic()
        request = await context.read()
        if request is grpc.aio.EOF or monotonic() - authorized_at > REAUTHORIZE_AFTER_SECONDS:
            await _check_late_request(access, method, context, auth, request)
        return decode(request)

    return read_request


async def _check_late_request(
    access: AccessControl, method: str, context: Any, auth: AuthContext, request: Any
) -> None:
    """End a call whose request never came, or came when its caller may not go on any more."""
    if request is grpc.aio.EOF:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, missing_request_message(method))
    refusal = access.reauthorize(auth, method)
    if refusal is not None:
        await _abort(context, refusal)


async def _unchanged(requests: Any, _context: Any, _auth: AuthContext) -> Any:
    return requests


def _unary(access: AccessControl, inner: _Behavior, decode: _Decode, method: str) -> _Behavior:
    authorize = access.authorizer_of(method)

    # The same as _admit and _request_reader without more coroutines: most calls are of this kind.
    async def behavior(_requests: Any, context: Any) -> Any:
        auth = context.auth_context()
        verdict = authorize(auth)
        if TRACING in MODULES:
            opentelemetry.annotate_call(verdict, auth)
        if verdict.peer is None:
            await _abort(context, verdict.refusal)
        assert verdict.peer is not None
        CURRENT_PEER.set(verdict.peer)
        authorized_at = monotonic()
        request = await context.read()
        if request is grpc.aio.EOF or monotonic() - authorized_at > REAUTHORIZE_AFTER_SECONDS:
            await _check_late_request(access, method, context, auth, request)
        return await inner(decode(request), context)

    return behavior


def _stream(
    access: AccessControl, inner: _Behavior, read_request: _ReadRequest, method: str
) -> _Behavior:
    authorize = access.authorizer_of(method)

    async def behavior(request: Any, context: Any) -> Any:
        auth = await _admit(authorize, context)
        with _AioStream(access, auth, method, context) as stream:
            try:
                return await inner(await read_request(request, context, auth), context)
            except asyncio.CancelledError:
                if not await stream.abort_if_refused():
                    raise

    return behavior


def _writer(
    access: AccessControl, inner: _Behavior, read_request: _ReadRequest, method: str
) -> _Behavior:
    protected = _stream(access, inner, read_request, method)

    # A generator that yields nothing: the handler writes to the context by itself. OpenTelemetry's
    # interceptor, for example, expects a generator for every stream of responses.
    async def behavior(request: Any, context: Any) -> AsyncIterator[Any]:
        await protected(request, context)
        return
        yield

    return behavior


def _generator(
    access: AccessControl, inner: _Behavior, read_request: _ReadRequest, method: str
) -> _Behavior:
    authorize = access.authorizer_of(method)

    # Messages are written here and not yielded to gRPC: a cancellation during gRPC's own write ends
    # in gRPC, which then sends no status, and the caller would wait forever.
    async def behavior(request: Any, context: Any) -> AsyncIterator[Any]:
        auth = await _admit(authorize, context)
        with _AioStream(access, auth, method, context) as stream:
            try:
                async with contextlib.aclosing(
                    inner(await read_request(request, context, auth), context)
                ) as items:
                    async for item in items:
                        await stream.abort_if_refused()
                        stream.is_writing = True
                        await context.write(item)
                        stream.is_writing = False
                        await stream.abort_if_refused()
            except asyncio.CancelledError:
                if not await stream.abort_if_refused():
                    raise
        return
        yield

    return behavior
