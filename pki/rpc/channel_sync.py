"""Synchronous channels that ask ``served_by`` before each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import grpc

from pki.rpc.pin import ServedBy
from pki.rpc.refusal import Refusal


class RefusedCallError(grpc.RpcError):
    """A call refused on this side, before a byte was sent; read as any ``grpc.RpcError``."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self._refusal = refusal

    def code(self) -> grpc.StatusCode:
        """Give the status code."""
        return self._refusal.code

    def details(self) -> str:
        """Give the words."""
        return self._refusal.message

    def initial_metadata(self) -> Any:
        """Give nothing: nobody answered."""
        return ()

    def trailing_metadata(self) -> Any:
        """Give the structured status."""
        return self._refusal.trailing_metadata()


class SyncChannel(grpc.Channel):
    """A pinned channel. All else is that of ``grpc.Channel``.

    A call that the policy refuses raises :class:`RefusedCallError` when it is made; nothing is
    sent.
    """

    def __init__(self, inner: grpc.Channel, served_by: ServedBy) -> None:
        self._inner = inner
        self._served_by = served_by

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False
    ) -> None:
        """Be told of the connectivity."""
        self._inner.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Be told no more."""
        self._inner.unsubscribe(callback)

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

    def close(self) -> None:
        """Close it; calls that run are cancelled."""
        self._inner.close()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def check(self, method: str) -> None:
        """Raise if the pinned server may not answer a method."""
        refusal = self._served_by.refusal(method)
        if refusal is not None:
            raise RefusedCallError(refusal)


class _Callable:
    def __init__(self, inner: Any, channel: SyncChannel, method: str) -> None:
        self._inner = inner
        self._channel = channel
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._channel.check(self._method)
        return self._inner(*args, **kwargs)


class _WithFuture(_Callable):
    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        self._channel.check(self._method)
        return self._inner.with_call(*args, **kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        self._channel.check(self._method)
        return self._inner.future(*args, **kwargs)


class _UnaryUnary(_WithFuture, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _UnaryStream(_Callable, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamUnary(_WithFuture, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamStream(_Callable, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    pass
