"""Calls of asyncio channels: held by their connection, or waiting for the first look at the server.

They are read as gRPC's own. When the connection ends under a call, gRPC reports a cancellation,
which nobody asked for: the caller reads ``UNAVAILABLE`` with the reason instead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access.refusal import Refusal
from pki.rpc.client.active_streams import ClientStreams
from pki.rpc.client.deadline import deadline
from pki.rpc.client.failure_explainer import FailureExplainer
from pki.rpc.client.rotation import Connection


def refused(refusal: Refusal) -> grpc.aio.AioRpcError:
    """Make the error of a call that was refused on this side."""
    return grpc.aio.AioRpcError(
        refusal.code,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(*refusal.trailing_metadata()),
        details=refusal.message,
    )


async def turned_away(
    refusal: Refusal, inquiry: FailureExplainer | None, remaining: float | None
) -> grpc.aio.AioRpcError:
    """Make the error of a call for which there is no connection, and say why, if that is known.

    Args:
        refusal: what is known already.
        inquiry: finds out why; None where nobody wants to know.
        remaining: the seconds that the call has left; None has no limit.
    """
    unseen = refusal.reason == ErrorReason.SERVER_UNVERIFIED
    words = await inquiry.words_soon(remaining) if inquiry is not None and unseen else ""
    return refused(refusal.because(words))


class AioBoundCall(
    grpc.aio.UnaryUnaryCall,  # type: ignore[type-arg]
    grpc.aio.UnaryStreamCall,  # type: ignore[type-arg]
    grpc.aio.StreamUnaryCall,  # type: ignore[type-arg]
    grpc.aio.StreamStreamCall,  # type: ignore[type-arg]
):
    """A call of any kind that runs on one connection.

    Args:
        call: gRPC's own.
        generation: the connection, held until the call has ended.
    """

    def __init__(self, call: Any, generation: Connection[grpc.aio.Channel]) -> None:
        self._call = call
        self._generation = generation
        self._cancelled = False
        call.add_done_callback(self._leave)

    def cancelled(self) -> bool:
        """Return whether it was cancelled by its caller or the server."""
        return bool(self._call.cancelled()) and self._why_ended() is None

    def done(self) -> bool:
        """Return whether it has ended."""
        return bool(self._call.done())

    def time_remaining(self) -> float | None:
        """Return the seconds until its deadline."""
        found: float | None = self._call.time_remaining()
        return found

    def cancel(self) -> bool:
        """Cancel it."""
        self._cancelled = True
        return bool(self._call.cancel())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have a function called when it has ended."""
        self._call.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """Return the server's initial metadata."""
        found: grpc.aio.Metadata = await self._call.initial_metadata()
        return found

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Return the server's trailing metadata."""
        found: grpc.aio.Metadata = await self._call.trailing_metadata()
        refusal = self._refusal()
        return found if refusal is None else grpc.aio.Metadata(*refusal.trailing_metadata())

    async def code(self) -> grpc.StatusCode:
        """Return the status code."""
        found: grpc.StatusCode = await self._call.code()
        refusal = self._refusal()
        return found if refusal is None else refusal.code

    async def details(self) -> str:
        """Return the words of the status."""
        found: str = await self._call.details()
        refusal = self._refusal()
        if refusal is not None:
            return refusal.message
        words = await self._explanation(await self._call.code(), found)
        return f"{found}; {words}" if words else found

    async def debug_error_string(self) -> str:
        """Return gRPC's own words."""
        found: str = await self._call.debug_error_string()
        return found

    async def wait_for_connection(self) -> None:
        """Wait until it is connected."""
        await self._answer(self._call.wait_for_connection())

    async def read(self) -> Any:
        """Read one message."""
        return await self._answer(self._call.read())

    async def write(self, request: Any) -> None:
        """Write one message."""
        await self._answer(self._call.write(request))

    async def done_writing(self) -> None:
        """Say that no more messages will be written."""
        await self._answer(self._call.done_writing())

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the answer."""
        try:
            return (yield from self._call.__await__())
        except asyncio.CancelledError:
            self._raise_if_ended()
            raise
        except grpc.aio.AioRpcError as error:
            raise (yield from self._explained(error).__await__()) from None

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Read message after message."""
        try:
            async for item in self._call:
                yield item
        except asyncio.CancelledError:
            self._raise_if_ended()
            raise
        except grpc.aio.AioRpcError as error:
            raise await self._explained(error) from None

    async def _answer(self, answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except asyncio.CancelledError:
            self._raise_if_ended()
            raise
        except grpc.aio.AioRpcError as error:
            raise await self._explained(error) from None

    async def _explanation(self, code: grpc.StatusCode, details: str | None) -> str:
        """Return why the call failed, if it failed as handshakes fail; empty if nothing is known."""
        inquiry = self._generation.inquiry
        if self._cancelled or inquiry is None or not inquiry.concerns(code, details):
            return ""
        return await inquiry.words_soon(self._call.time_remaining())

    async def _explained(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        words = await self._explanation(error.code(), error.details())
        if not words:
            return error
        return grpc.aio.AioRpcError(
            error.code(),
            error.initial_metadata(),
            error.trailing_metadata(),
            details=f"{error.details()}; {words}",
            debug_error_string=error.debug_error_string(),
        )

    def _leave(self, _: object) -> None:
        self._generation.leave()

    def _why_ended(self) -> Refusal | None:
        """Return why it was ended on this side, if anybody but its caller did so."""
        return None if self._cancelled else self._generation.why_ended()

    def _refusal(self) -> Refusal | None:
        """Return why it was ended, if that is what it ended of."""
        why = self._why_ended()
        return why if why is not None and self._call.cancelled() else None

    def _raise_if_ended(self) -> None:
        task = asyncio.current_task()
        # A task that is being cancelled goes on so, whatever else happened.
        if task is not None and task.cancelling():
            return
        refusal = self._refusal()
        if refusal is not None:
            raise refused(refusal) from None


class AioBoundStream(AioBoundCall):
    """A call with a stream in it, which the channel may end while its connection goes on.

    Args:
        call: as :class:`AioBoundCall`.
        generation: as :class:`AioBoundCall`.
        method: its path.
        streams: those of the channel; it is among them until it ends.
    """

    def __init__(
        self,
        call: Any,
        generation: Connection[grpc.aio.Channel],
        method: str | bytes,
        streams: ClientStreams,
    ) -> None:
        self.method = method
        self._ended: Refusal | None = None
        self._streams = streams
        streams.add(self)
        super().__init__(call, generation)

    def end(self, refusal: Refusal) -> None:
        """End it, and have its caller read why; called in its event loop."""
        self._ended = refusal
        self._call.cancel()

    def _leave(self, call: object) -> None:
        self._streams.discard(self)
        super()._leave(call)

    def _why_ended(self) -> Refusal | None:
        return None if self._cancelled else self._ended or self._generation.why_ended()


class AioPendingCall(
    grpc.aio.UnaryUnaryCall,  # type: ignore[type-arg]
    grpc.aio.UnaryStreamCall,  # type: ignore[type-arg]
    grpc.aio.StreamUnaryCall,  # type: ignore[type-arg]
    grpc.aio.StreamStreamCall,  # type: ignore[type-arg]
):
    """A call that begins when the server was seen.

    Args:
        begin: waits, and begins the call within the seconds that remain.
        timeout: the seconds that it has in all; None has no limit.
    """

    def __init__(
        self,
        begin: Callable[[Callable[[], float | None]], Awaitable[AioBoundCall]],
        timeout: float | None,
    ) -> None:
        self._end = deadline(timeout)
        self._callbacks: list[Callable[[Any], None]] = []
        self._begun = asyncio.ensure_future(begin(self.time_remaining))
        self._begun.add_done_callback(self._tell)

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        call = self._call()
        return self._begun.cancelled() if call is None else call.cancelled()

    def done(self) -> bool:
        """Return whether it has ended."""
        call = self._call()
        return self._begun.done() if call is None else call.done()

    def time_remaining(self) -> float | None:
        """Return the seconds until its deadline."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def cancel(self) -> bool:
        """Cancel it."""
        call = self._call()
        return self._begun.cancel() if call is None else call.cancel()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have a function called when it has ended."""
        call = self._call()
        if call is not None:
            call.add_done_callback(lambda _: callback(self))
        elif self._begun.done():
            callback(self)
        else:
            self._callbacks.append(callback)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """Return the server's initial metadata."""
        call = await self._made()
        if isinstance(call, AioBoundCall):
            return await call.initial_metadata()
        return call.initial_metadata() or grpc.aio.Metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Return the server's trailing metadata."""
        call = await self._made()
        if isinstance(call, AioBoundCall):
            return await call.trailing_metadata()
        return call.trailing_metadata() or grpc.aio.Metadata()

    async def code(self) -> grpc.StatusCode:
        """Return the status code."""
        call = await self._made()
        return await call.code() if isinstance(call, AioBoundCall) else call.code()

    async def details(self) -> str:
        """Return the words of the status."""
        call = await self._made()
        return await call.details() if isinstance(call, AioBoundCall) else call.details() or ""

    async def debug_error_string(self) -> str:
        """Return gRPC's own words."""
        call = await self._made()
        return await call.debug_error_string() if isinstance(call, AioBoundCall) else str(call)

    async def wait_for_connection(self) -> None:
        """Wait until it is connected."""
        await (await self._held()).wait_for_connection()

    async def read(self) -> Any:
        """Read one message."""
        return await (await self._held()).read()

    async def write(self, request: Any) -> None:
        """Write one message."""
        await (await self._held()).write(request)

    async def done_writing(self) -> None:
        """Say that no more messages will be written."""
        await (await self._held()).done_writing()

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the answer."""
        return self._answer().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Read message after message."""
        async for item in await self._held():
            yield item

    async def _answer(self) -> Any:
        return await (await self._held())

    async def _held(self) -> AioBoundCall:
        # Whoever stops waiting for an answer cancels the call, as with gRPC's own; whoever asks
        # for its state does not.
        try:
            return await asyncio.shield(self._begun)
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _made(self) -> AioBoundCall | grpc.aio.AioRpcError:
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

    def _tell(self, begun: asyncio.Future[AioBoundCall]) -> None:
        call = self._call()
        for callback in self._callbacks:
            if call is None:
                callback(self)
            else:
                call.add_done_callback(lambda _, callback=callback: callback(self))  # type: ignore[misc]
        self._callbacks = []
