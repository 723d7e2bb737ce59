"""gRPC's asyncio server, made so that no call can end it.

gRPC decodes the path of each call as UTF-8 in the one loop that accepts calls. A path that is not
UTF-8, from any peer that gets through TLS, ends the loop, the server and all connections
(grpcio 1.85.1). Nothing runs before that decoding, and Python sees the bytes nowhere. So the loop
runs on another object than the server: a dispatcher, which has no ports and no calls of its own,
and accepts the server's calls one by one. If the dispatcher fails, the call that it accepted last
is the cause. That call is answered like any unknown method, and another dispatcher takes over. The
server, its connections and the running calls are not affected.

gRPC's loop asks for one call of each method at a time, and each takes it some turns of the event
loop. Where turns are long because much is to do, calls would wait for half a minute, and then be
dropped by gRPC. So the server asks for several at once, of any method. It asks for one at a time if
it limits the streams of a connection: a stream counts until the event loop has ended its call,
while its caller, who has the answer already, begins the next and is refused. That happens to gRPC's
own servers too, but more often if each turn of the loop accepts more calls.

This relies on names inside grpcio (``cygrpc.AioServer``). If a later grpcio does not have them,
gRPC's own server is made unchanged, and ``AioServer`` makes it again whenever it fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import grpc
import grpc.aio
from grpc._cython import cygrpc  # type: ignore[attr-defined] # it has no types

from pki.access.authorizer import AuthContext
from pki.access.refusal import Refusal
from pki.background import defer
from pki.rpc.server.running_calls_aio import RunningCalls, release
from pki.rpc.status import status_code, trailing_metadata

log = logging.getLogger("handfast.rpc")

_NEEDED = ("_request_call", "_serving_task_crash_handler", "start", "shutdown")
_CAN_DISPATCH = (
    hasattr(cygrpc, "_RequestCallError")
    and hasattr(cygrpc, "_ServicerContext")
    and all(hasattr(cygrpc.AioServer, name) for name in _NEEDED)
)
_MAKING = threading.Lock()
_REQUESTED, _MANY_REQUESTED = 16, 256
"""How many calls are asked for at once: many by a server that lets many wait, as a CA does whose
workloads come back. A request takes some turns of the event loop, and calls that wait inside gRPC
wait in the order in which they came, behind thousands of streams that begin."""
_MANY_WAIT, _LIMITS_STREAMS = "grpc.server.max_pending_requests", "grpc.max_concurrent_streams"

UNDECODABLE = "(a path that is not UTF-8)"
"""The method of such a call in the log."""

# Returns the refusal for the caller of a path that can't be decoded; None if it would be allowed.
Authorize = Callable[[AuthContext], "Refusal | None"]


def make_robust_server(
    make: Callable[[], grpc.aio.Server], authorize: Authorize
) -> grpc.aio.Server:
    """Make a server that no path can end.

    Args:
        make: calls ``grpc.aio.server``, so that instrumentation of that function still works.
        authorize: authorizes the caller of a path that can't be decoded.
    """
    if not _CAN_DISPATCH:
        return make()

    def server(*args: Any, **kwargs: Any) -> _Server:
        return _Server(authorize, *args, **kwargs)

    # A server that another thread makes at this moment becomes one of these too, without harm.
    with _MAKING:
        original = cygrpc.AioServer
        cygrpc.AioServer = server
        try:
            return make()
        finally:
            cygrpc.AioServer = original


class _MethodHandlers(grpc.GenericRpcHandler):
    """The handlers that were registered by method: a dispatcher takes generic handlers only."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def service(self, handler_call_details: Any) -> Any:
        return self.handlers.get(handler_call_details.method)


class _Server(cygrpc.AioServer):  # type: ignore[misc] # grpcio's own class has no types
    """The server: ports, connections and calls. A dispatcher accepts its calls."""

    def __init__(  # noqa: PLR0917 - as grpc.aio calls it
        self,
        authorize: Authorize,
        loop: asyncio.AbstractEventLoop,
        thread_pool: Any,
        generic_handlers: Sequence[Any],
        interceptors: Sequence[Any],
        options: Any,
        maximum_concurrent_rpcs: int | None,
        *later: Any,
    ) -> None:
        self._authorize = authorize
        self._event_loop = loop
        self._method_handlers = _MethodHandlers()
        self._handlers: list[Any] = [self._method_handlers]
        self._interceptors_of_calls = interceptors
        self._running = RunningCalls(loop, maximum_concurrent_rpcs)
        self._ending = asyncio.Event()
        self._is_ending = False
        self._dispatcher: _Dispatcher | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._requested: deque[asyncio.Task[Any]] = deque()
        named = {name for name, _ in options or ()}
        self._wanted = _MANY_REQUESTED if _MANY_WAIT in named else _REQUESTED
        if _LIMITS_STREAMS in named:
            self._wanted = 1
        # What later versions of grpcio add.
        self._later = later
        super().__init__(
            loop,
            thread_pool,
            generic_handlers,
            interceptors,
            options,
            maximum_concurrent_rpcs,
            *later,
        )

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        handlers = list(generic_rpc_handlers)
        self._handlers.extend(handlers)
        super().add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, method_handlers: dict[str, Any]) -> None:
        # gRPC is not told: it would ask for one call of each method at a time, and for each call
        # that comes, look at the requests of all methods.
        self._method_handlers.handlers.update(method_handlers)

    async def start(self) -> None:
        await super().start()
        if self._dispatcher is None:
            await self._dispatch()

    async def _request_call(self) -> Any:
        # Called by its own loop. The dispatcher accepts the calls.
        await self._ending.wait()
        raise cygrpc._RequestCallError

    async def accept_call(self) -> Any:
        """Wait for the next call, for the dispatcher. Calls that are too many are refused."""
        while True:
            call = await self._next_call()
            if self._running.begin(call):
                return call
            self._answer(self._refuse_excess(call))

    async def _next_call(self) -> Any:
        if self._is_ending:
            raise cygrpc._RequestCallError
        while len(self._requested) < self._wanted:
            task = self._event_loop.create_task(super()._request_call())
            task.add_done_callback(_retrieve_error)
            self._requested.append(task)
        # gRPC's core answers them in their order. One that is answered is taken without a turn.
        return await self._requested.popleft()

    async def shutdown(self, grace: float | None) -> None:
        # The order matters: a loop whose calls fail must know already that the server ends, or it
        # asks for the next call forever.
        self._is_ending = True
        # Calls that nobody has taken end with what holds them.
        self._requested.clear()
        dispatcher, self._dispatcher = self._dispatcher, None
        others = [asyncio.ensure_future(_shut_down(dispatcher))] if dispatcher is not None else []
        await asyncio.sleep(0)
        own = asyncio.ensure_future(super().shutdown(grace))
        await asyncio.sleep(0)
        self._ending.set()
        try:
            await own
        finally:
            await asyncio.gather(*others, return_exceptions=True)

    def replace_failed(self, dispatcher: _Dispatcher, task: asyncio.Task[None]) -> None:
        """Replace a dispatcher, if it failed because of a path."""
        if self._is_ending:
            return
        if not isinstance(task.exception(), UnicodeDecodeError):
            # No caller can cause this: ``AioServer`` makes the whole server again.
            self._serving_task_crash_handler(task)
            return
        self._answer(self._recover(dispatcher))

    def _answer(self, answering: Coroutine[Any, Any, None]) -> None:
        task = self._event_loop.create_task(answering)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _recover(self, failed: _Dispatcher) -> None:
        if self._is_ending:
            # The server was stopped meanwhile, and has shut the failed dispatcher down.
            failed.accepted = None
            return
        await self._dispatch()
        try:
            await self._refuse(failed.accepted)
        finally:
            self._running.end(failed.accepted)
            failed.accepted = None
            await _shut_down(failed)

    async def _dispatch(self) -> None:
        # The process dies if a stopped server accepts or answers a call.
        if self._is_ending:
            return
        dispatcher = self._dispatcher = _Dispatcher(
            self,
            self._event_loop,
            list(self._handlers),
            self._interceptors_of_calls,
            self._later,
        )
        await dispatcher.start()

    async def _refuse(self, call: Any) -> None:
        if self._is_ending:
            return
        context = cygrpc._ServicerContext(call, None, None, self._event_loop)
        refusal = None
        try:
            refusal = self._authorize(context.auth_context())
        except Exception as error:
            defer(
                log.error, "the caller of a path that is not UTF-8 can't be authorized: %r", error
            )
        # abort() raises once the status is sent, to end a handler; there is none here.
        with contextlib.suppress(Exception):
            if refusal is None:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            else:
                await context.abort(
                    status_code(refusal), refusal.message, trailing_metadata(refusal)
                )

    async def _refuse_excess(self, call: Any) -> None:
        if self._is_ending:
            return
        context = cygrpc._ServicerContext(call, None, None, self._event_loop)
        with contextlib.suppress(Exception):
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!"
            )
        release(call)


class _Dispatcher(cygrpc.AioServer):  # type: ignore[misc] # grpcio's own class has no types
    """Accepts the calls of a server and runs their handlers; it has no port and no own calls."""

    def __init__(
        self,
        server: _Server,
        loop: asyncio.AbstractEventLoop,
        handlers: Sequence[Any],
        interceptors: Sequence[Any],
        later: Sequence[Any],
    ) -> None:
        self._accepting_for = server
        self.accepted: Any = None
        # The server counts the calls, for all its dispatchers.
        super().__init__(loop, None, handlers, interceptors, (), None, *later)

    async def _request_call(self) -> Any:
        self.accepted = None
        call = self.accepted = await self._accepting_for.accept_call()
        return call

    def _serving_task_crash_handler(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._accepting_for.replace_failed(self, task)


def _retrieve_error(task: asyncio.Task[Any]) -> None:
    """Take the error of a request that the server's end has failed: else asyncio logs it."""
    if not task.cancelled():
        task.exception()


async def _shut_down(dispatcher: _Dispatcher) -> None:
    """Release what gRPC's core holds for a dispatcher, also for one that has failed."""
    try:
        await dispatcher.shutdown(None)
    except Exception:
        # It raised the error that it failed with, before it released all; the second time it does.
        await dispatcher.shutdown(None)
