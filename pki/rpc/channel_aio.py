"""Asyncio channels that ask ``served_by`` before each call."""

from __future__ import annotations

from typing import Any, Self

import grpc
import grpc.aio

from pki.rpc.pin import ServedBy


class AioChannel(grpc.aio.Channel):
    """A pinned channel. All else is that of ``grpc.aio.Channel``.

    A call that the policy refuses raises ``grpc.aio.AioRpcError`` when it is made, with a
    ``google.rpc.ErrorInfo`` among its trailing metadata; nothing is sent.
    """

    def __init__(self, inner: grpc.aio.Channel, served_by: ServedBy) -> None:
        self._inner = inner
        self._served_by = served_by

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of this kind."""
        return _UnaryUnary(self._inner.unary_unary(method, *args, **kwargs), self, method)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of this kind."""
        return _UnaryStream(self._inner.unary_stream(method, *args, **kwargs), self, method)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of this kind."""
        return _StreamUnary(self._inner.stream_unary(method, *args, **kwargs), self, method)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make a callable of this kind."""
        return _StreamStream(self._inner.stream_stream(method, *args, **kwargs), self, method)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Give the connectivity."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connectivity is another."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel is connected."""
        await self._inner.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close it; calls that run have ``grace`` seconds."""
        await self._inner.close(grace)

    async def __aenter__(self) -> Self:
        """Give itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    def check(self, method: str) -> None:
        """Raise if the pinned server may not answer a method."""
        refusal = self._served_by.refusal(method)
        if refusal is not None:
            raise grpc.aio.AioRpcError(
                refusal.code,
                grpc.aio.Metadata(),
                grpc.aio.Metadata(*refusal.trailing_metadata()),
                details=refusal.message,
            )


class _Callable:
    def __init__(self, inner: Any, channel: AioChannel, method: str) -> None:
        self._inner = inner
        self._channel = channel
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._channel.check(self._method)
        return self._inner(*args, **kwargs)


class _UnaryUnary(_Callable, grpc.aio.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _UnaryStream(_Callable, grpc.aio.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamUnary(_Callable, grpc.aio.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamStream(_Callable, grpc.aio.StreamStreamMultiCallable):  # type: ignore[type-arg]
    pass
