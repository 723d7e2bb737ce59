"""Asyncio channels: pinned, following their credential, looking at their server before a call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, Self

import grpc
import grpc.aio

from pki.rpc.client.call_aio import (
    AioBoundCall,
    AioBoundStream,
    AioPendingCall,
    refused,
    turned_away,
)
from pki.rpc.client.connections import ChannelConfig, ChannelConnections
from pki.rpc.client.rotation import Connection
from pki.rpc.client.service_config import ServiceConfig
from pki.tls.target import Address

_READY = grpc.ChannelConnectivity.READY
_GOING_OVER = 0.01  # seconds between two looks whether a new connection is ready
_TIMEOUT_AT, _PATIENT_AT = 1, 4  # of a multi-callable's arguments


class AioChannel(grpc.aio.Channel):
    """A pinned channel that follows its workload's credential. All else is ``grpc.aio.Channel``'s.

    A call that the policy refuses raises ``grpc.aio.AioRpcError`` when it is made, with a
    ``google.rpc.ErrorInfo`` among its trailing metadata; nothing is sent. Calls that are made
    before the server was seen wait for that within their deadlines.

    Args:
        make: makes a connection with the credential in force, to what gRPC calls some addresses.
        route: where it goes, to whom, and with what.
        config: what is said of calls that wait for the server to be seen.
    """

    def __init__(
        self,
        make: Callable[[str], grpc.aio.Channel],
        route: ChannelConfig,
        config: ServiceConfig,
    ) -> None:
        self._make = make
        self._route = route
        self.config = config
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.connections = ChannelConnections(route, self._generation, changed=self._move_on)

    def follow(self) -> None:
        """Take in what changed, if anything; called every now and then, by a thread."""
        self.connections.look()
        self._move_on()

    def stop_following(self) -> None:
        """End what runs and refuse what comes: the workload was closed."""
        self.connections.stop("the Workload of this channel was closed")
        self._move_on()

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
        """Return the connectivity."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connectivity is another."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the server was seen and accepted, and the channel is connected."""
        await self._wait_for_sight(lambda: None, patient=True, pauses=iter(()))
        await self._channel.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close it; calls that run have ``grace`` seconds."""
        open_ones = self.connections.rotation.take_no_more()
        await asyncio.gather(*(item.channel.close(grace) for item in open_ones))
        self.connections.close()
        if self._ticking is not None:
            self._ticking.cancel()
        if self._closing:
            await asyncio.wait(self._closing)

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    def check(self, method: str) -> None:
        """Raise if the policy does not let the pinned server answer a method."""
        refusal = self.connections.check(method)
        if refusal is not None:
            raise refused(refusal)

    def check_open(self) -> None:
        """Raise if whoever owns the channel has closed it.

        Raises:
            grpc.aio.UsageError: as gRPC does; asked for a call then, it may end the process.
        """
        if self.connections.rotation.is_closed:
            raise grpc.aio.UsageError("Channel is closed.")

    async def begin(
        self,
        start: Callable[[Connection[grpc.aio.Channel], float | None], AioBoundCall],
        remaining: Callable[[], float | None],
        *,
        patient: bool,
        pauses: Iterator[float],
    ) -> AioBoundCall:
        """Begin a call once the server was seen.

        Args:
            start: starts it on a connection, within so many seconds.
            remaining: gives the seconds that it has left.
            patient: whether it waits for a server that is not there yet.
            pauses: the seconds before each further attempt to find it.

        Raises:
            grpc.aio.AioRpcError: if the server is not accepted, or time is over.
        """
        await self._wait_for_sight(remaining, patient=patient, pauses=pauses)
        generation = self.connections.take()
        if generation is None:
            self.check_open()
            raise await self._turned_away(remaining())
        return start(generation, remaining())

    async def _wait_for_sight(
        self,
        remaining: Callable[[], float | None],
        *,
        patient: bool,
        pauses: Iterator[float],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        sight = self.connections.sight
        try:
            while not sight.accepted and not self.connections.rotation.is_closed:
                looking = sight.demand()
                if looking is not None:
                    waiting = asyncio.shield(asyncio.wrap_future(looking))
                    await asyncio.wait_for(waiting, remaining())
                if not sight.accepted:
                    pause = sight.pause() if patient else next(pauses, None)
                    if pause is None:
                        raise await self._turned_away(remaining())
                    await asyncio.wait_for(asyncio.sleep(pause), remaining())
        except TimeoutError:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.aio.Metadata(),
                grpc.aio.Metadata(),
                details=f"Deadline Exceeded before {self._route.pin.spiffe_id} was seen",
            ) from None
        self._tick()

    async def _turned_away(self, remaining: float | None) -> grpc.aio.AioRpcError:
        return await turned_away(self.connections.turn_away(), self._route.inquiry, remaining)

    @property
    def _channel(self) -> grpc.aio.Channel:
        return self.connections.rotation.current.channel

    def _move_on(self) -> None:
        # Before its first call a channel has no loop; that call moves it on.
        if self._loop is not None:
            # A loop that has closed took its channels with it.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tick)

    def _tick(self) -> None:
        self.connections.tick()
        if self.connections.rotation.is_closed:
            return
        if self.connections.rotation.is_going_over and self._loop is not None:
            self._ticking = self._ticking or self._loop.call_later(_GOING_OVER, self._tick_again)

    def _tick_again(self) -> None:
        self._ticking = None
        self._tick()

    def _generation(self, addresses: Collection[Address]) -> Connection[grpc.aio.Channel]:
        name, connections = self._route.naming(addresses)
        channel = self._make(name)

        def is_ready(connect: bool) -> bool:
            # A watch would tell sooner, but gRPC never frees a channel that has one.
            return channel.get_state(connect) is _READY

        def close() -> None:
            if self._loop is not None:
                task = self._loop.create_task(channel.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

        return Connection(
            channel,
            self._route.shown(),
            self._route.ends(),
            addresses=addresses,
            clock=self._route.clock,
            is_ready=is_ready,
            close=close,
            inquiry=self._route.inquiry,
            connections=connections,
        )


class _Callable:
    def __init__(self, channel: AioChannel, kind: str, method: str, args: Any, kwargs: Any) -> None:
        self._channel = channel
        self._kind = kind
        self._method = method
        self._args = args
        self._kwargs = kwargs
        self._made: tuple[object, Any] = (None, None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._channel.check(self._method)
        generation = self._channel.connections.enter()
        if generation is not None:
            return self._start(generation, args, kwargs)
        self._channel.check_open()
        said = self._channel.config.of_method(self._method)
        timeout, patient = kwargs.get("timeout"), kwargs.get("wait_for_ready")
        if len(args) > _TIMEOUT_AT:
            timeout = args[_TIMEOUT_AT]
            patient = args[_PATIENT_AT] if len(args) > _PATIENT_AT else patient

        def start(found: Connection[grpc.aio.Channel], seconds: float | None) -> AioBoundCall:
            if len(args) > _TIMEOUT_AT:
                return self._start(found, (args[0], seconds, *args[_TIMEOUT_AT + 1 :]), kwargs)
            return self._start(found, args, {**kwargs, "timeout": seconds})

        return AioPendingCall(
            lambda remaining: self._channel.begin(
                start,
                remaining,
                patient=said.wait_for_ready if patient is None else bool(patient),
                pauses=said.pauses(),
            ),
            said.least(timeout),
        )

    def _start(
        self, generation: Connection[grpc.aio.Channel], args: Any, kwargs: Any
    ) -> AioBoundCall:
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
        return self._held(call, generation)

    def _held(self, call: Any, generation: Connection[grpc.aio.Channel]) -> AioBoundCall:
        return AioBoundStream(call, generation, self._method, self._channel.connections.streams)


class _UnaryUnary(_Callable, grpc.aio.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    def _held(self, call: Any, generation: Connection[grpc.aio.Channel]) -> AioBoundCall:
        return AioBoundCall(call, generation)


class _UnaryStream(_Callable, grpc.aio.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamUnary(_Callable, grpc.aio.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamStream(_Callable, grpc.aio.StreamStreamMultiCallable):  # type: ignore[type-arg]
    pass
