"""gRPC's asyncio server, made so that no call can make it fall.

gRPC decodes the path of each call in the one loop that takes calls, as UTF-8 and strictly: a path
that is not UTF-8, from anybody who gets through TLS, ends the loop, the server and all connections
(grpcio 1.85.1). Nothing stands before that decoding, and Python sees the bytes
nowhere. So the loop is run on another object than the server: a dispatcher, that has no ports and
no calls of its own. It takes the server's calls one by one. When it falls, the call that it took
last is the cause. That call is answered as any method that does not exist, and another dispatcher
goes on where the last one was. The server, its connections and the calls that run notice nothing.

It rests on names inside grpcio (``cygrpc.AioServer``). Where a later grpcio has them no more,
gRPC's own server is made as it is, and ``AioServer`` makes it anew whenever it has fallen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from grpc._cython import cygrpc  # type: ignore[attr-defined] # it has no types

from pki.access.authorizer import AuthContext
from pki.access.refusal import Refusal
from pki.background import defer

log = logging.getLogger("handfast.rpc")

_NEEDED = ("_request_call", "_serving_task_crash_handler", "start", "shutdown")
_CAN_DISPATCH = (
    hasattr(cygrpc, "_RequestCallError")
    and hasattr(cygrpc, "_ServicerContext")
    and all(hasattr(cygrpc.AioServer, name) for name in _NEEDED)
)
_MAKING = threading.Lock()

UNDECODABLE = "(a path that is not UTF-8)"
"""What is logged as the method of such a call."""

# What is said of a call whose path can't be decoded: the refusal of its caller, if it has one.
Answer = Callable[[AuthContext], "Refusal | None"]


def server_that_stays(make: Callable[[], grpc.aio.Server], answer: Answer) -> grpc.aio.Server:
    """Make a server that no path makes fall.

    Args:
        make: calls ``grpc.aio.server``; whatever instruments that function goes on doing so.
        answer: judges the caller of a call whose path can't be decoded.
    """
    if not _CAN_DISPATCH:
        return make()

    def front(*args: Any, **how: Any) -> _Front:
        return _Front(answer, *args, **how)

    # A server that another thread makes at this moment gets the same, and nothing but good of it.
    with _MAKING:
        own = cygrpc.AioServer
        cygrpc.AioServer = front
        try:
            return make()
        finally:
            cygrpc.AioServer = own


class _Registered(grpc.GenericRpcHandler):
    """The handlers that were registered by method: a dispatcher is given all as generic ones."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def service(self, handler_call_details: Any) -> Any:
        return self.handlers.get(handler_call_details.method)


class _Front(cygrpc.AioServer):  # type: ignore[misc] # grpcio's own class has no types
    """The server: ports, connections and calls. It leaves taking calls to a dispatcher."""

    def __init__(  # noqa: PLR0917 - as grpc.aio calls it
        self,
        answer: Answer,
        loop: asyncio.AbstractEventLoop,
        thread_pool: Any,
        generic_handlers: Sequence[Any],
        interceptors: Sequence[Any],
        options: Any,
        maximum_concurrent_rpcs: int | None,
    ) -> None:
        self._answer = answer
        self._event_loop = loop
        self._registered = _Registered()
        self._handlers: list[Any] = [self._registered]
        self._settings = (interceptors, maximum_concurrent_rpcs)
        self._ending = asyncio.Event()
        self._is_ending = False
        self._dispatcher: _Dispatcher | None = None
        self._recovering: set[asyncio.Task[None]] = set()
        super().__init__(
            loop, thread_pool, generic_handlers, interceptors, options, maximum_concurrent_rpcs
        )

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        found = list(generic_rpc_handlers)
        self._handlers.extend(found)
        super().add_generic_rpc_handlers(found)

    def add_registered_method_handlers(self, method_handlers: dict[str, Any]) -> None:
        self._registered.handlers.update(method_handlers)
        super().add_registered_method_handlers(method_handlers)

    async def start(self) -> None:
        await super().start()
        if self._dispatcher is None:
            await self._dispatch()

    async def _request_call(self) -> Any:
        # Asked by its own loop. The calls themselves are taken by the dispatcher.
        await self._ending.wait()
        raise cygrpc._RequestCallError

    def take_call(self) -> Any:
        """Wait for the next call, for the dispatcher."""
        return super()._request_call()

    async def shutdown(self, grace: float | None) -> None:
        # The order matters. A loop that is told that calls fail must know already that it is to
        # end, or it asks for the next one without end.
        self._is_ending = True
        dispatcher, self._dispatcher = self._dispatcher, None
        others = [asyncio.ensure_future(_end(dispatcher))] if dispatcher is not None else []
        await asyncio.sleep(0)
        own = asyncio.ensure_future(super().shutdown(grace))
        await asyncio.sleep(0)
        self._ending.set()
        try:
            await own
        finally:
            await asyncio.gather(*others, return_exceptions=True)

    def fell(self, dispatcher: _Dispatcher, task: asyncio.Task[None]) -> None:
        """Go on with another dispatcher, if it was a path that made this one fall."""
        if self._is_ending:
            return
        if not isinstance(task.exception(), UnicodeDecodeError):
            # Nothing that a caller can cause: the whole server is made anew.
            self._serving_task_crash_handler(task)
            return
        recovering = self._event_loop.create_task(self._recover(dispatcher))
        self._recovering.add(recovering)
        recovering.add_done_callback(self._recovering.discard)

    async def _recover(self, fallen: _Dispatcher) -> None:
        if self._is_ending:
            # The server was stopped since, and has ended the dispatcher that fell.
            fallen.taken = None
            return
        await self._dispatch()
        try:
            await self._refuse(fallen.taken)
        finally:
            fallen.taken = None
            await _end(fallen)

    async def _dispatch(self) -> None:
        # The process dies if a server that was stopped is asked for calls, or answers one.
        if self._is_ending:
            return
        interceptors, most = self._settings
        made = self._dispatcher = _Dispatcher(
            self, self._event_loop, list(self._handlers), interceptors, most
        )
        await made.start()

    async def _refuse(self, call: Any) -> None:
        if self._is_ending:
            return
        context = cygrpc._ServicerContext(call, None, None, self._event_loop)
        refusal = None
        try:
            refusal = self._answer(context.auth_context())
        except Exception as error:
            defer(log.error, "the caller of a path that is not UTF-8 can't be judged: %r", error)
        # It raises once the status is sent: there is no handler here to be ended by that.
        with contextlib.suppress(Exception):
            if refusal is None:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            else:
                await context.abort(refusal.code, refusal.message, refusal.trailing_metadata())


class _Dispatcher(cygrpc.AioServer):  # type: ignore[misc] # grpcio's own class has no types
    """Takes a server's calls and has them handled; it has no port and no call of its own."""

    def __init__(
        self,
        front: _Front,
        loop: asyncio.AbstractEventLoop,
        handlers: Sequence[Any],
        interceptors: Sequence[Any],
        maximum_concurrent_rpcs: int | None,
    ) -> None:
        self._front = front
        self.taken: Any = None
        super().__init__(loop, None, handlers, interceptors, (), maximum_concurrent_rpcs)

    async def _request_call(self) -> Any:
        self.taken = None
        call = self.taken = await self._front.take_call()
        return call

    def _serving_task_crash_handler(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._front.fell(self, task)


async def _end(dispatcher: _Dispatcher) -> None:
    """Let go of what gRPC's core holds for a dispatcher, also for one that has fallen."""
    try:
        await dispatcher.shutdown(None)
    except Exception:
        # It raised what it fell over, before it let go; asked again it does the rest.
        await dispatcher.shutdown(None)
