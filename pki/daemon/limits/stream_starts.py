"""Streams that begin at once: some at a time, so that other calls get turns between.

To authorize a new caller and to send what its stream begins with costs as much as a few other
calls. Where thousands begin, the calls that come meanwhile would wait behind them for longer than
they last: gRPC hands calls over in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio

from pki.rpc.server.handlers import Handler, WrappedHandlers, behavior_of

_AT_ONCE = 16
_MOST_SECONDS = 0.5
"""How long one that does not read may hold a turn."""


class _Turn:
    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns: asyncio.Semaphore | None = turns
        self._timer = asyncio.get_running_loop().call_later(_MOST_SECONDS, self.end)

    def end(self) -> None:
        self._timer.cancel()
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.release()


_TURN: ContextVar[_Turn | None] = ContextVar("_TURN", default=None)


def has_begun() -> None:
    """Say that the running call has sent what it begins with: the next one may begin."""
    turn = _TURN.get()
    if turn is not None:
        turn.end()


class StreamStarts(grpc.aio.ServerInterceptor):
    """Lets streams begin in turns, in one event loop. It waits before they are authorized.

    Args:
        methods: their paths. A handler calls :func:`has_begun`; until then it holds a turn, or for
            half a second.
    """

    def __init__(self, methods: Collection[str]) -> None:
        self._methods = frozenset(methods)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._wrapped = WrappedHandlers(lambda handler, _: self._wrap(handler))

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the handler of the method, which waits for its turn first if it is one of them."""
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is not None and method in self._methods:
            return self._wrapped.get(handler, method)
        found: Handler = handler
        return found

    def _wrap(self, handler: Handler | None) -> Handler:
        assert handler is not None  # or it would not have been asked for
        inner = behavior_of(handler)

        async def behavior(requests: Any, context: Any) -> AsyncIterator[Any]:
            await self._turns.acquire()
            turn = _Turn(self._turns)
            _TURN.set(turn)
            try:
                async with aclosing(inner(requests, context)) as items:
                    async for item in items:
                        yield item
            finally:
                turn.end()

        return grpc.stream_stream_rpc_method_handler(
            behavior, handler.request_deserializer, handler.response_serializer
        )
