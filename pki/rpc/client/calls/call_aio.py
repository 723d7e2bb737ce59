"""Calls of asyncio channels that run on a connection, and the errors that they raise.

They are read like gRPC's own calls. When the connection ends under a call, gRPC reports a
cancellation that nobody requested: the caller reads ``UNAVAILABLE`` with the reason instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access.refusal import Refusal
from pki.rpc.client.active_streams import ClientStreams
from pki.rpc.client.connection import Connection
from pki.rpc.client.failure_explainer import FailureExplainer
from pki.rpc.status import status_code, trailing_metadata


def to_rpc_error(refusal: Refusal) -> grpc.aio.AioRpcError:
    """Return the error for a call that was refused on this side."""
    return grpc.aio.AioRpcError(
        status_code(refusal),
        grpc.aio.Metadata(),
        grpc.aio.Metadata(*trailing_metadata(refusal)),
        details=refusal.message,
    )


async def no_connection_error(
    refusal: Refusal, explainer: FailureExplainer | None, remaining: float | None
) -> grpc.aio.AioRpcError:
    """Return the error for a call for which there is no connection, with the cause if it is known.

    Args:
        refusal: why there is no connection.
        explainer: finds the cause; None to leave it out.
        remaining: the seconds that the call has left; None: no limit.
    """
    cause = ""
    if explainer is not None and refusal.reason == ErrorReason.SERVER_UNVERIFIED:
        cause = await explainer.explain_async(remaining)
    return to_rpc_error(refusal.with_cause(cause))


class AioBoundCall(
    grpc.aio.UnaryUnaryCall,  # type: ignore[type-arg]
    grpc.aio.UnaryStreamCall,  # type: ignore[type-arg]
    grpc.aio.StreamUnaryCall,  # type: ignore[type-arg]
    grpc.aio.StreamStreamCall,  # type: ignore[type-arg]
):
    """A call of any kind that runs on one connection.

    Args:
        call: gRPC's own call.
        connection: the connection, held until the call has ended.
    """

    # gRPC before 1.83 asks each call that it meets whether it is of a channel that closes.
    _channel = None

    def __init__(self, call: Any, connection: Connection[grpc.aio.Channel]) -> None:
        self._call = call
        self._connection = connection
        self._cancelled = False
        self._is_released = False
        call.add_done_callback(self._release)

    def cancelled(self) -> bool:
        """Return whether the caller or the server cancelled the call."""
        return bool(self._call.cancelled()) and self._end_reason() is None

    def done(self) -> bool:
        """Return whether the call has ended."""
        return bool(self._call.done())

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline; None without one."""
        seconds: float | None = self._call.time_remaining()
        return seconds

    def cancel(self) -> bool:
        """Cancel the call."""
        self._cancelled = True
        return bool(self._call.cancel())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call a function when the call has ended."""
        self._call.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """Return the server's initial metadata."""
        metadata: grpc.aio.Metadata = await self._call.initial_metadata()
        return metadata

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Return the server's trailing metadata."""
        metadata: grpc.aio.Metadata = await self._call.trailing_metadata()
        refusal = self._refusal()
        return metadata if refusal is None else grpc.aio.Metadata(*trailing_metadata(refusal))

    async def code(self) -> grpc.StatusCode:
        """Return the status code."""
        code: grpc.StatusCode = await self._call.code()
        refusal = self._refusal()
        return code if refusal is None else status_code(refusal)

    async def details(self) -> str:
        """Return the message of the status."""
        details: str = await self._call.details()
        refusal = self._refusal()
        if refusal is not None:
            return refusal.message
        cause = await self._explain(await self._call.code(), details)
        return f"{details}; {cause}" if cause else details

    async def debug_error_string(self) -> str:
        """Return gRPC's own error text."""
        text: str = await self._call.debug_error_string()
        return text

    async def wait_for_connection(self) -> None:
        """Wait until the call is connected."""
        await self._translate(self._call.wait_for_connection())

    async def read(self) -> Any:
        """Read one message."""
        return await self._translate(self._call.read())

    async def write(self, request: Any) -> None:
        """Write one message."""
        await self._translate(self._call.write(request))

    async def done_writing(self) -> None:
        """Announce that no more messages will be written."""
        await self._translate(self._call.done_writing())

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the response."""
        try:
            return (yield from self._call.__await__())
        except asyncio.CancelledError:
            self._raise_if_refused()
            raise
        except grpc.aio.AioRpcError as error:
            raise (yield from self._explained(error).__await__()) from None

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Read message after message."""
        try:
            async for item in self._call:
                yield item
        except asyncio.CancelledError:
            self._raise_if_refused()
            raise
        except grpc.aio.AioRpcError as error:
            raise await self._explained(error) from None

    async def _translate(self, result: Awaitable[Any]) -> Any:
        try:
            return await result
        except asyncio.CancelledError:
            self._raise_if_refused()
            raise
        except grpc.aio.AioRpcError as error:
            raise await self._explained(error) from None

    async def _explain(self, code: grpc.StatusCode, details: str | None) -> str:
        """Return why the call failed, if it failed in a handshake; empty if that is not known."""
        explainer = self._connection.explainer
        if self._cancelled or explainer is None or not explainer.concerns(code, details):
            return ""
        return await explainer.explain_async(self._call.time_remaining())

    async def _explained(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        cause = await self._explain(error.code(), error.details())
        if not cause:
            return error
        return grpc.aio.AioRpcError(
            error.code(),
            error.initial_metadata(),
            error.trailing_metadata(),
            details=f"{error.details()}; {cause}",
            debug_error_string=error.debug_error_string(),
        )

    def _release(self, _: object) -> None:
        # gRPC before 1.83 may report the end of a cancelled call twice.
        if not self._is_released:
            self._is_released = True
            self._connection.release()

    def _end_reason(self) -> Refusal | None:
        """Return why the call was ended on this side, other than by its caller."""
        return None if self._cancelled else self._connection.end_reason()

    def _refusal(self) -> Refusal | None:
        """Return why the call was ended on this side, if that ended the call."""
        reason = self._end_reason()
        return reason if reason is not None and self._call.cancelled() else None

    def _raise_if_refused(self) -> None:
        task = asyncio.current_task()
        # A task that is being cancelled stays so, whatever else happened.
        if task is not None and task.cancelling():
            return
        refusal = self._refusal()
        if refusal is not None:
            raise to_rpc_error(refusal) from None


class AioBoundStream(AioBoundCall):
    """A call with a stream in it, which the channel may end while its connection goes on.

    Args:
        call: as :class:`AioBoundCall`.
        connection: as :class:`AioBoundCall`.
        method: the path of its method.
        streams: the streams of the channel; the call is one of them until it ends.
    """

    def __init__(
        self,
        call: Any,
        connection: Connection[grpc.aio.Channel],
        method: str | bytes,
        streams: ClientStreams,
    ) -> None:
        self.method = method
        self._refused: Refusal | None = None
        self._streams = streams
        streams.add(self)
        super().__init__(call, connection)

    def end(self, refusal: Refusal) -> None:
        """End the call; its caller reads the refusal. To be called on its event loop."""
        self._refused = refusal
        self._call.cancel()

    def _release(self, call: object) -> None:
        self._streams.remove(self)
        super()._release(call)

    def _end_reason(self) -> Refusal | None:
        return None if self._cancelled else self._refused or self._connection.end_reason()
