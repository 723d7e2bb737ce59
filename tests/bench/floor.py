"""The floor: an interceptor that only asks gRPC who calls, and does nothing with the answer.

Whoever authenticates each call pays this much: there is no cheaper way to the certificate.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from pki.rpc.wrapped import Handler, WrappedHandlers, behavior_of, same_kind


def _asking(handler: Handler | None, _: str) -> Handler:
    assert handler is not None
    inner = behavior_of(handler)

    async def answer(request: Any, context: Any) -> Any:
        context.auth_context()
        return await inner(request, context)

    return same_kind(handler, answer)


def _asking_sync(handler: Handler | None, _: str) -> Handler:
    assert handler is not None
    inner = behavior_of(handler)

    def answer(request: Any, context: Any) -> Any:
        context.auth_context()
        return inner(request, context)

    return same_kind(handler, answer)


class AioFloor(grpc.aio.ServerInterceptor):
    """For unary calls of asyncio servers."""

    def __init__(self) -> None:
        self._wrapped = WrappedHandlers(_asking)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler."""
        handler = await continuation(handler_call_details)
        return self._wrapped.get(handler, handler_call_details.method)


class SyncFloor(grpc.ServerInterceptor):
    """For unary calls of synchronous servers."""

    def __init__(self) -> None:
        self._wrapped = WrappedHandlers(_asking_sync)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler."""
        handler = continuation(handler_call_details)
        return self._wrapped.get(handler, handler_call_details.method)
