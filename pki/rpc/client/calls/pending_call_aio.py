"""Calls of asyncio channels that begin once the server is verified."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from pki.rpc.client.calls.call_aio import AioBoundCall
from pki.rpc.client.calls.deadline import deadline


class AioPendingCall(
    grpc.aio.UnaryUnaryCall,  # type: ignore[type-arg]
    grpc.aio.UnaryStreamCall,  # type: ignore[type-arg]
    grpc.aio.StreamUnaryCall,  # type: ignore[type-arg]
    grpc.aio.StreamStreamCall,  # type: ignore[type-arg]
):
    """A call that begins when the server is verified.

    Args:
        begin: waits, and begins the call within the seconds that remain.
        timeout: the seconds that the call has in all; None: no limit.
    """

    # gRPC before 1.83 asks each call that it meets whether it is of a channel that closes.
    _channel = None

    def __init__(
        self,
        begin: Callable[[Callable[[], float | None]], Awaitable[AioBoundCall]],
        timeout: float | None,
    ) -> None:
        self._end = deadline(timeout)
        self._callbacks: list[Callable[[Any], None]] = []
        self._begun = asyncio.ensure_future(begin(self.time_remaining))
        self._begun.add_done_callback(self._pass_on_callbacks)

    def cancelled(self) -> bool:
        """Return whether the call was cancelled."""
        call = self._call()
        return self._begun.cancelled() if call is None else call.cancelled()

    def done(self) -> bool:
        """Return whether the call has ended."""
        call = self._call()
        return self._begun.done() if call is None else call.done()

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline; None without one."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def cancel(self) -> bool:
        """Cancel the call."""
        call = self._call()
        return self._begun.cancel() if call is None else call.cancel()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call a function when the call has ended."""
        call = self._call()
        if call is not None:
            call.add_done_callback(lambda _: callback(self))
        elif self._begun.done():
            callback(self)
        else:
            self._callbacks.append(callback)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """Return the server's initial metadata."""
        call = await self._begun_or_error()
        if isinstance(call, AioBoundCall):
            return await call.initial_metadata()
        return call.initial_metadata() or grpc.aio.Metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Return the server's trailing metadata."""
        call = await self._begun_or_error()
        if isinstance(call, AioBoundCall):
            return await call.trailing_metadata()
        return call.trailing_metadata() or grpc.aio.Metadata()

    async def code(self) -> grpc.StatusCode:
        """Return the status code."""
        call = await self._begun_or_error()
        return await call.code() if isinstance(call, AioBoundCall) else call.code()

    async def details(self) -> str:
        """Return the message of the status."""
        call = await self._begun_or_error()
        return await call.details() if isinstance(call, AioBoundCall) else call.details() or ""

    async def debug_error_string(self) -> str:
        """Return gRPC's own error text."""
        call = await self._begun_or_error()
        return await call.debug_error_string() if isinstance(call, AioBoundCall) else str(call)

    async def wait_for_connection(self) -> None:
        """Wait until the call is connected."""
        await (await self._wait_begun()).wait_for_connection()

    async def read(self) -> Any:
        """Read one message."""
        return await (await self._wait_begun()).read()

    async def write(self, request: Any) -> None:
        """Write one message."""
        await (await self._wait_begun()).write(request)

    async def done_writing(self) -> None:
        """Announce that no more messages will be written."""
        await (await self._wait_begun()).done_writing()

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the response."""
        return self._response().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Read message after message."""
        async for item in await self._wait_begun():
            yield item

    async def _response(self) -> Any:
        return await (await self._wait_begun())

    async def _wait_begun(self) -> AioBoundCall:
        # As with gRPC's own calls: to stop waiting for the response cancels the call, to stop
        # waiting for its state does not.
        try:
            return await asyncio.shield(self._begun)
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _begun_or_error(self) -> AioBoundCall | grpc.aio.AioRpcError:
        try:
            return await asyncio.shield(self._begun)
        except grpc.aio.AioRpcError as error:
            return error
        except asyncio.CancelledError:
            if not self._begun.cancelled():
                raise
            return grpc.aio.AioRpcError(
                grpc.StatusCode.CANCELLED,
                grpc.aio.Metadata(),
                grpc.aio.Metadata(),
                details="Locally cancelled by application!",
            )

    def _call(self) -> AioBoundCall | None:
        if self._begun.done() and not self._begun.cancelled() and not self._begun.exception():
            return self._begun.result()
        return None

    def _pass_on_callbacks(self, begun: asyncio.Future[AioBoundCall]) -> None:
        call = self._call()
        for callback in self._callbacks:
            if call is None:
                callback(self)
            else:
                call.add_done_callback(lambda _, callback=callback: callback(self))  # type: ignore[misc]
        self._callbacks = []
