"""Asyncio channels: pinned, following their credential, asking ``served_by`` before a call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Self

import grpc
import grpc.aio

from pki.clock import Clock
from pki.errors import PkiError
from pki.rpc.pin import ServedBy
from pki.rpc.rotation import Generation, Rotation

log = logging.getLogger("handfast.rpc")


class AioChannel(grpc.aio.Channel):
    """A pinned channel that follows its workload's credential. All else is ``grpc.aio.Channel``'s.

    A call that the policy refuses raises ``grpc.aio.AioRpcError`` when it is made, with a
    ``google.rpc.ErrorInfo`` among its trailing metadata; nothing is sent.
    """

    def __init__(
        self,
        make: Callable[[], grpc.aio.Channel],
        credential: Callable[[], tuple[object, datetime]],
        served_by: ServedBy,
        clock: Clock,
    ) -> None:
        self._make = make
        self._credential = credential
        self._served_by = served_by
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.rotation = Rotation(self._generation)

    def follow(self) -> None:
        """Go over to a new credential, if there is one; called every now and then, by a thread."""
        # Before its first call a channel has no loop; that call looks for itself.
        if self._loop is not None:
            # A loop that has closed took its channels with it.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tick)

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of this kind."""
        return _UnaryUnary(self, "unary_unary", method, args, kwargs)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of this kind."""
        return _UnaryStream(self, "unary_stream", method, args, kwargs)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of this kind."""
        return _StreamUnary(self, "stream_unary", method, args, kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of this kind."""
        return _StreamStream(self, "stream_stream", method, args, kwargs)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Give the connectivity."""
        return self.rotation.current.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connectivity is another."""
        await self.rotation.current.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel is connected."""
        await self.rotation.current.channel.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close it; calls that run have ``grace`` seconds."""
        await self.rotation.current.channel.close(grace)
        self.rotation.close()
        if self._closing:
            await asyncio.wait(self._closing)

    async def __aenter__(self) -> Self:
        """Give itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    def enter(self, method: str) -> Generation[grpc.aio.Channel]:
        """Check a call, and take hold of a connection for it.

        Raises:
            grpc.aio.AioRpcError: if the pinned server may not answer the method.
        """
        refusal = self._served_by.refusal(method)
        if refusal is not None:
            raise grpc.aio.AioRpcError(
                refusal.code,
                grpc.aio.Metadata(),
                grpc.aio.Metadata(*refusal.trailing_metadata()),
                details=refusal.message,
            )
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._tick()
        return self.rotation.enter()

    def _tick(self) -> None:
        try:
            self.rotation.tick(self._credential()[0], self._clock())
        except PkiError as error:
            log.warning("channel keeps its credential: %s", error)

    def _generation(self) -> Generation[grpc.aio.Channel]:
        shown, ends = self._credential()
        channel = self._make()

        def is_ready() -> bool:
            return channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

        def close() -> None:
            task = asyncio.get_running_loop().create_task(channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

        return Generation(channel, shown, ends, is_ready, close)


class _Callable:
    def __init__(self, channel: AioChannel, kind: str, method: str, args: Any, kwargs: Any) -> None:
        self._channel = channel
        self._kind = kind
        self._method = method
        self._args = args
        self._kwargs = kwargs
        self._made: tuple[object, Any] = (None, None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        generation = self._channel.enter(self._method)
        made_for, made = self._made
        if made_for is not generation:
            made = getattr(generation.channel, self._kind)(
                self._method, *self._args, **self._kwargs
            )
            self._made = (generation, made)
        try:
            call = made(*args, **kwargs)
        except BaseException:
            generation.leave()
            raise
        call.add_done_callback(lambda _: generation.leave())
        return call


class _UnaryUnary(_Callable, grpc.aio.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _UnaryStream(_Callable, grpc.aio.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamUnary(_Callable, grpc.aio.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamStream(_Callable, grpc.aio.StreamStreamMultiCallable):  # type: ignore[type-arg]
    pass
