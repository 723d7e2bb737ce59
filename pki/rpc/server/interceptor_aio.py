"""The interceptor of asyncio servers."""

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
from pki.access.peer import CURRENT_PEER
from pki.access.refusal import Refusal
from pki.rpc.server import interceptor_sync
from pki.rpc.server.access_control import LATE_SECONDS, AccessControl
from pki.rpc.server.handlers import (
    Handler,
    WrappedHandlers,
    behavior_of,
    no_request,
    of_same_kind,
    request_decoder,
    taking_a_stream,
)

_Behavior = Callable[..., Any]
_Decode = Callable[[bytes], Any]
# Gives the handler what it is called with, of what gRPC hands over.
_Take = Callable[[Any, Any, AuthContext], Awaitable[Any]]


class AioAuthInterceptor(grpc.aio.ServerInterceptor):
    """Lets a call through to its handler once the gate has answered for it."""

    def __init__(self, gate: AccessControl) -> None:
        self.gate = gate
        self._wrapped = WrappedHandlers(lambda handler, method: _wrap(gate, handler, method))

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the method's handler, unknown methods' too."""
        method = handler_call_details.method
        try:
            handler = await continuation(handler_call_details)
        except Exception as error:
            # Whoever stands behind the gate has failed for a caller that nobody has judged yet.
            return _failing(self.gate, error, method)
        return self.behind(handler, method)

    def behind(self, handler: Handler | None, method: str) -> Handler:
        """Return the wrapped form of a method's handler; None stands for a method without one."""
        return self._wrapped.get(handler, method)


class _Watched:
    """A running stream that can be ended from another thread, with words for the caller.

    Its task is cancelled at each sweep until it has ended: a cancellation can get lost, in a
    handler's ``except`` as in ``asyncio.wait_for``. A handler that goes on all the same finds the
    call ended under it.
    """

    def __init__(self, gate: AccessControl, auth: AuthContext, method: str, context: Any) -> None:
        self._gate = gate
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._refusal: Refusal | None = None
        self._over = False
        self.is_writing = False
        """Whether it is inside a write of gRPC's, which does not bear to be cancelled."""
        self._aborting: asyncio.Future[None] | None = None
        self._span = opentelemetry.recording_span()
        self._number = gate.watch(auth, method, self._end)

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._gate.streams.discard(self._number)
        # Here, and not where it is ended: nothing stands before that, and the span is still open.
        opentelemetry.mark_ended(self._span, self._refusal)

    def _end(self, refusal: Refusal) -> None:
        is_first = self._refusal is None
        self._refusal = self._refusal or refusal
        # A loop that has closed has ended the stream with it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel if is_first else self._abort_anyway)
        if is_first:
            self._gate.note_ended(refusal)

    def _cancel(self) -> None:
        if self._task is not None and not self._over and not self.is_writing:
            self._task.cancel()

    def _abort_anyway(self) -> None:
        if not self._over:
            self._aborting = self._aborting or asyncio.ensure_future(self._abort_from_outside())
            self.is_writing = False
            self._cancel()

    async def _abort_from_outside(self) -> None:
        # gRPC raises in whoever aborts a call; its handler has nothing left to write to.
        with contextlib.suppress(Exception):
            await _abort(self._context, self._refusal)

    async def ended(self) -> bool:
        """After a cancellation: tell the caller if it was ours."""
        if self._refusal is None:
            return False
        self._over = True
        if self._task is not None and hasattr(self._task, "uncancel"):
            self._task.uncancel()
        if self._aborting is None:
            await _abort(self._context, self._refusal)
        else:
            # Whatever comes after a handler that returns before it would be sent as its success.
            await asyncio.wait({self._aborting})
        return True

    async def end_if_refused(self) -> None:
        """Before a message is written: end the call if its peer may not go on."""
        if self._refusal is not None:
            await self.ended()


async def _admit(gate: AccessControl, method: str, context: Any) -> AuthContext:
    """Ask the gate, and note the peer for the handler; a call that is refused ends here.

    Each call runs in a task of its own, so nothing has to be reset.
    """
    auth: AuthContext = context.auth_context()
    judgement = gate.ask(auth, method)
    opentelemetry.mark(judgement, auth)
    if judgement.peer is None:
        await _abort(context, judgement.refusal)
    assert judgement.peer is not None
    CURRENT_PEER.set(judgement.peer)
    return auth


async def _abort(context: Any, refusal: Refusal | None) -> None:
    if refusal is None:
        await context.abort(grpc.StatusCode.INTERNAL, "judged without an answer")
    else:
        await context.abort(refusal.code, refusal.message, refusal.trailing_metadata())


def _wrap(gate: AccessControl, handler: Handler | None, method: str) -> Handler:
    if handler is None:

        async def unknown(_requests: Any, context: Any) -> AsyncIterator[Any]:
            await _admit(gate, method, context)
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            yield

        return grpc.stream_stream_rpc_method_handler(unknown)
    gate.counts.knows(method)
    inner = behavior_of(handler)
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        return taking_a_stream(handler, _guarded(gate, handler, method))
    # gRPC runs a plain function in a thread of its own, once its request is there.
    return of_same_kind(handler, interceptor_sync.guarded_in_thread(gate, handler, method))


def _failing(gate: AccessControl, error: Exception, method: str) -> Handler:
    """Return the handler of a method whose own could not be found: it fails, for whom it may tell."""

    async def fail(_requests: Any, context: Any) -> AsyncIterator[Any]:
        await _admit(gate, method, context)
        raise error
        yield

    return grpc.stream_stream_rpc_method_handler(fail)


def _guarded(gate: AccessControl, handler: Handler, method: str) -> _Behavior:
    inner, take = behavior_of(handler), _reader(gate, handler, method)
    if inspect.isasyncgenfunction(inner):
        return _generator(gate, inner, take, method)
    if handler.response_streaming:
        return _writer(gate, inner, take, method)
    if handler.request_streaming:
        return _stream(gate, inner, take, method)
    return _unary(gate, inner, request_decoder(handler), method)


def _reader(gate: AccessControl, handler: Handler, method: str) -> _Take:
    """Return what reads and decodes a single request once its caller was judged."""
    if handler.request_streaming:
        return _as_it_came
    decode = request_decoder(handler)

    async def take(_requests: Any, context: Any, auth: AuthContext) -> Any:
        judged = monotonic()
        request = await context.read()
        if request is grpc.aio.EOF or monotonic() - judged > LATE_SECONDS:
            await _check_late(gate, method, context, auth, request)
        return decode(request)

    return take


async def _check_late(
    gate: AccessControl, method: str, context: Any, auth: AuthContext, request: Any
) -> None:
    """End a call whose one request never came, or came when its caller may not go on any more."""
    if request is grpc.aio.EOF:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, no_request(method))
    refusal = gate.refusal_since(auth, method)
    if refusal is not None:
        await _abort(context, refusal)


async def _as_it_came(requests: Any, _context: Any, _auth: AuthContext) -> Any:
    return requests


def _unary(gate: AccessControl, inner: _Behavior, decode: _Decode, method: str) -> _Behavior:
    # As _admit and _reader do, without the cost of more coroutines: most calls are of this kind.
    async def answer(_requests: Any, context: Any) -> Any:
        auth = context.auth_context()
        judgement = gate.ask(auth, method)
        opentelemetry.mark(judgement, auth)
        if judgement.peer is None:
            await _abort(context, judgement.refusal)
        assert judgement.peer is not None
        CURRENT_PEER.set(judgement.peer)
        judged = monotonic()
        request = await context.read()
        if request is grpc.aio.EOF or monotonic() - judged > LATE_SECONDS:
            await _check_late(gate, method, context, auth, request)
        return await inner(decode(request), context)

    return answer


def _stream(gate: AccessControl, inner: _Behavior, take: _Take, method: str) -> _Behavior:
    async def answer(request: Any, context: Any) -> Any:
        auth = await _admit(gate, method, context)
        with _Watched(gate, auth, method, context) as watched:
            try:
                return await inner(await take(request, context, auth), context)
            except asyncio.CancelledError:
                if not await watched.ended():
                    raise

    return answer


def _writer(gate: AccessControl, inner: _Behavior, take: _Take, method: str) -> _Behavior:
    guarded = _stream(gate, inner, take, method)

    # A generator that gives nothing: the handler writes to the context by itself. OpenTelemetry's
    # interceptor, for one, takes every stream of answers for a generator.
    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        await guarded(request, context)
        return
        yield

    return answer


def _generator(gate: AccessControl, inner: _Behavior, take: _Take, method: str) -> _Behavior:
    # Written from here, and not given to gRPC to be written: a cancellation that meets gRPC's own
    # write ends in gRPC, which sends no status then, and the caller would wait without end.
    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        auth = await _admit(gate, method, context)
        with _Watched(gate, auth, method, context) as watched:
            try:
                async with contextlib.aclosing(
                    inner(await take(request, context, auth), context)
                ) as items:
                    async for item in items:
                        await watched.end_if_refused()
                        watched.is_writing = True
                        await context.write(item)
                        watched.is_writing = False
                        await watched.end_if_refused()
            except asyncio.CancelledError:
                if not await watched.ended():
                    raise
        return
        yield

    return answer
