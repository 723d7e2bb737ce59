"""Synchronous channels: pinned, following their credential, asking ``served_by`` before a call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Self

import grpc

from pki.clock import Clock
from pki.errors import PkiError
from pki.rpc.pin import ServedBy
from pki.rpc.refusal import Refusal
from pki.rpc.rotation import Generation, Rotation

log = logging.getLogger("handfast.rpc")


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
    """A pinned channel that follows its workload's credential. All else is ``grpc.Channel``'s.

    A call that the policy refuses raises :class:`RefusedCallError` when it is made; nothing is
    sent.
    """

    def __init__(
        self,
        make: Callable[[], grpc.Channel],
        credential: Callable[[], tuple[object, datetime]],
        served_by: ServedBy,
        clock: Clock,
    ) -> None:
        self._make = make
        self._credential = credential
        self._served_by = served_by
        self._clock = clock
        self._watchers: list[Callable[[grpc.ChannelConnectivity], None]] = []
        self.rotation = Rotation(self._generation, self._swapped)

    def follow(self) -> None:
        """Go over to a new credential, if there is one; called every now and then, by a thread."""
        try:
            self.rotation.tick(self._credential()[0], self._clock())
        except PkiError as error:
            log.warning("channel keeps its credential: %s", error)

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False
    ) -> None:
        """Be told of the connectivity."""
        self._watchers.append(callback)
        self.rotation.current.channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Be told no more."""
        if callback in self._watchers:
            self._watchers.remove(callback)
        self.rotation.current.channel.unsubscribe(callback)

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

    def close(self) -> None:
        """Close it; calls that run are cancelled."""
        self.rotation.close()

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

    def _generation(self) -> Generation[grpc.Channel]:
        shown, ends = self._credential()
        channel = self._make()
        seen: list[grpc.ChannelConnectivity] = []
        watching: list[Callable[[grpc.ChannelConnectivity], None]] = []

        def is_ready() -> bool:
            # Asked of a connection that is to take over, and of no other: watching costs a thread.
            if not watching:
                watching.append(seen.append)
                channel.subscribe(seen.append, try_to_connect=True)
            return bool(seen) and seen[-1] is grpc.ChannelConnectivity.READY

        def close() -> None:
            for callback in watching:
                channel.unsubscribe(callback)
            channel.close()

        return Generation(channel, shown, ends, is_ready, close)

    def _swapped(self) -> None:
        for callback in self._watchers:
            self.rotation.current.channel.subscribe(callback)


class _Callable:
    def __init__(
        self, channel: SyncChannel, kind: str, method: str, args: Any, kwargs: Any
    ) -> None:
        self._channel = channel
        self._kind = kind
        self._method = method
        self._args = args
        self._kwargs = kwargs
        self._made: tuple[object, Any] = (None, None)

    def _enter(self) -> tuple[Generation[grpc.Channel], Any]:
        """Check the call, and take hold of a connection for it."""
        self._channel.check(self._method)
        generation = self._channel.rotation.enter()
        made_for, made = self._made
        if made_for is not generation:
            made = getattr(generation.channel, self._kind)(
                self._method, *self._args, **self._kwargs
            )
            self._made = (generation, made)
        return generation, made

    def _held(self, start: Callable[[Any], Any]) -> Any:
        """Start a call that outlives this one, and hold the connection until it ends."""
        generation, made = self._enter()
        try:
            call = start(made)
        except BaseException:
            generation.leave()
            raise
        if not call.add_callback(generation.leave):
            generation.leave()
        return call


class _Streaming(_Callable):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._held(lambda made: made(*args, **kwargs))


class _Answered(_Callable):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        generation, made = self._enter()
        try:
            return made(*args, **kwargs)
        finally:
            generation.leave()

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        generation, made = self._enter()
        try:
            return made.with_call(*args, **kwargs)
        finally:
            generation.leave()

    def future(self, *args: Any, **kwargs: Any) -> Any:
        return self._held(lambda made: made.future(*args, **kwargs))


class _UnaryUnary(_Answered, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _UnaryStream(_Streaming, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamUnary(_Answered, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamStream(_Streaming, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    pass
