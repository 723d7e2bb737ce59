"""Synchronous channels: pinned, following their credential, looking at their server first."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import TimeoutError as WaitTimeoutError
from typing import Any, Self

import grpc

from pki.rpc.client.call_sync import LocalCallError, ended, held, turned_away
from pki.rpc.client.connections import ChannelConfig, ChannelConnections
from pki.rpc.client.connectivity import Connectivity
from pki.rpc.client.deadline import deadline
from pki.rpc.client.pending_call_sync import SyncPendingCall
from pki.rpc.client.rotation import Connection
from pki.rpc.client.service_config import ServiceConfig
from pki.tls.target import Address

_TIMEOUT_AT, _PATIENT_AT = 1, 4  # of a multi-callable's arguments


class SyncChannel(grpc.Channel):
    """A pinned channel that follows its workload's credential. All else is ``grpc.Channel``'s.

    A call that the policy refuses raises a ``grpc.RpcError`` when it is made; nothing is sent.
    Calls that are made before the server was seen wait for that within their deadlines: those that
    give an answer hold up their caller, streams and futures do not.

    Args:
        make: makes a connection with the credential in force, to what gRPC calls some addresses.
        route: where it goes, to whom, and with what.
        config: what is said of calls that wait for the server to be seen.
    """

    def __init__(
        self, make: Callable[[str], grpc.Channel], route: ChannelConfig, config: ServiceConfig
    ) -> None:
        self._make = make
        self._route = route
        self.config = config
        self._watchers: list[Callable[[grpc.ChannelConnectivity], None]] = []
        self.connections = ChannelConnections(
            route, self._generation, changed=self._move_on, swapped=self._swapped
        )

    def follow(self) -> None:
        """Take in what changed, if anything; called every now and then, by a thread."""
        self.connections.look()
        self._move_on()

    def stop_following(self) -> None:
        """End what runs and refuse what comes: the workload was closed."""
        self.connections.stop("the Workload of this channel was closed")
        self._move_on()

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False
    ) -> None:
        """Be told of the connectivity."""
        self._watchers.append(callback)
        self._channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Be told no more."""
        if callback in self._watchers:
            self._watchers.remove(callback)
        self._channel.unsubscribe(callback)

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
        self.connections.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def enter(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Connection[grpc.Channel], tuple[Any, ...], dict[str, Any]]:
        """Check a call and take hold of a connection for it, waiting until the server was seen.

        Gives the connection, and the call's arguments with the seconds that it has left.

        Raises:
            LocalCallError: if the policy refuses it, the server is not accepted, or time is over.
        """
        generation = self.enter_now(method)
        if generation is not None:
            return generation, args, kwargs
        said = self.config.of_method(method)
        end = deadline(said.least(_argument("timeout", _TIMEOUT_AT, args, kwargs)))
        patient = _argument("wait_for_ready", _PATIENT_AT, args, kwargs)
        self._wait_for_sight(
            end,
            patient=said.wait_for_ready if patient is None else bool(patient),
            pauses=said.pauses(),
        )
        generation = self.connections.take()
        if generation is None:
            if self.connections.rotation.is_closed:
                raise ValueError("Cannot invoke RPC on closed channel!")  # as gRPC's own does
            raise self._turned_away(end)
        return generation, *_with_timeout(end, args, kwargs)

    def enter_now(self, method: str) -> Connection[grpc.Channel] | None:
        """Check a call and take hold of a connection for it; None if it must wait, or ends here.

        Raises:
            LocalCallError: if the policy refuses it.
        """
        refusal = self.connections.check(method)
        if refusal is not None:
            raise LocalCallError.of(refusal)
        if self.connections.rotation.is_going_over:
            # Nobody else looks whether the new connection is ready for some tenths of a second.
            self._move_on()
        return self.connections.enter()

    @property
    def is_closed(self) -> bool:
        """Whether whoever owns it has closed it."""
        return self.connections.rotation.is_closed

    def _wait_for_sight(self, end: float | None, *, patient: bool, pauses: Iterator[float]) -> None:
        sight = self.connections.sight
        while not sight.accepted and not self.connections.rotation.is_closed:
            looking = sight.demand()
            if looking is not None:
                try:
                    looking.result(self._remaining(end))
                except WaitTimeoutError:
                    self._remaining(end)
            if not sight.accepted:
                pause = sight.pause() if patient else next(pauses, None)
                if pause is None:
                    raise self._turned_away(end)
                left = self._remaining(end)
                time.sleep(pause if left is None else min(pause, left))
        self._move_on()

    def _turned_away(self, end: float | None) -> LocalCallError:
        left = None if end is None else end - time.monotonic()
        return turned_away(self.connections.turn_away(), self._route.inquiry, left)

    def _remaining(self, end: float | None) -> float | None:
        """Return the seconds left; raise if there are none."""
        if end is None:
            return None
        left = end - time.monotonic()
        if left <= 0:
            raise LocalCallError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"Deadline Exceeded before {self._route.pin.spiffe_id} was seen",
            )
        return left

    @property
    def _channel(self) -> grpc.Channel:
        return self.connections.rotation.current.channel

    def _move_on(self) -> None:
        self.connections.tick()

    def _generation(self, addresses: Collection[Address]) -> Connection[grpc.Channel]:
        name, connections = self._route.naming(addresses)
        channel = self._make(name)
        connectivity = Connectivity(channel)

        def close() -> None:
            connectivity.close()
            channel.close()

        return Connection(
            channel,
            self._route.shown(),
            self._route.ends(),
            addresses=addresses,
            clock=self._route.clock,
            is_ready=connectivity.is_ready,
            close=close,
            inquiry=self._route.inquiry,
            connections=connections,
        )

    def _swapped(self) -> None:
        for callback in self._watchers:
            self._channel.subscribe(callback)


def _argument(name: str, at: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[at] if len(args) > at else kwargs.get(name)


def _left(began: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
    """Return the seconds that a call has left; None has no limit."""
    timeout = _argument("timeout", _TIMEOUT_AT, args, kwargs)
    return None if timeout is None else began + timeout - time.monotonic()


def _with_timeout(
    end: float | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if end is None:
        return args, kwargs
    left = max(0.0, end - time.monotonic())
    if len(args) > _TIMEOUT_AT:
        return (*args[:_TIMEOUT_AT], left, *args[_TIMEOUT_AT + 1 :]), kwargs
    return args, {**kwargs, "timeout": left}


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

    def _on(self, generation: Connection[grpc.Channel]) -> Any:
        """Return gRPC's own callable on one connection."""
        made_for, made = self._made
        if made_for is not generation:
            made = getattr(generation.channel, self._kind)(
                self._method, *self._args, **self._kwargs
            )
            self._made = (generation, made)
        return made

    def _begun(self, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a call that outlives this one, and begins by itself once the server was seen."""
        generation = self._channel.enter_now(self._method)
        if generation is not None:
            return self._held(kind, generation, args, kwargs)

        def begin() -> Any:
            found, left, named = self._channel.enter(self._method, args, kwargs)
            return self._held(kind, found, left, named)

        # gRPC's own error for a closed channel tells the caller at once.
        if self._channel.is_closed:
            return begin()
        said = self._channel.config.of_method(self._method)
        return SyncPendingCall(begin, said.least(_argument("timeout", _TIMEOUT_AT, args, kwargs)))

    def _held(
        self,
        kind: str,
        generation: Connection[grpc.Channel],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Start a call, and hold the connection until it ends."""
        try:
            call = getattr(self._on(generation), kind)(*args, **kwargs)
        except BaseException:
            generation.leave()
            raise
        return held(call, generation, self._method, self._channel.connections.streams)


class _Streaming(_Callable):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._begun("__call__", args, kwargs)


class _Answered(_Callable):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        generation, args, kwargs = self._channel.enter(self._method, args, kwargs)
        began = time.monotonic()
        try:
            return self._on(generation)(*args, **kwargs)
        except grpc.RpcError as error:
            raise ended(error, generation, _left(began, args, kwargs)) from None
        finally:
            generation.leave()

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        generation, args, kwargs = self._channel.enter(self._method, args, kwargs)
        began = time.monotonic()
        try:
            return self._on(generation).with_call(*args, **kwargs)
        except grpc.RpcError as error:
            raise ended(error, generation, _left(began, args, kwargs)) from None
        finally:
            generation.leave()

    def future(self, *args: Any, **kwargs: Any) -> Any:
        return self._begun("future", args, kwargs)


class _UnaryUnary(_Answered, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _UnaryStream(_Streaming, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamUnary(_Answered, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamStream(_Streaming, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    pass
