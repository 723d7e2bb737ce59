"""Asyncio channels: pinned, following their credential, verifying their server before a call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Self

import grpc
import grpc.aio

from pki.rpc.client.calls.call_aio import (
    AioBoundCall,
    AioBoundStream,
    no_connection_error,
    to_rpc_error,
)
from pki.rpc.client.calls.pending_call_aio import AioPendingCall
from pki.rpc.client.calls.running_calls_aio import RunningCalls
from pki.rpc.client.calls.server_status_aio import keep_server_status
from pki.rpc.client.channel import (
    CallableBase,
    PinnedChannel,
    timeout_of,
    wait_for_ready_of,
    with_timeout,
)
from pki.rpc.client.channel_config import ChannelConfig
from pki.rpc.client.connection import Connection
from pki.rpc.client.service_config import ServiceConfig

_READY = grpc.ChannelConnectivity.READY
_SHUTDOWN = grpc.ChannelConnectivity.SHUTDOWN
_FAILURE = grpc.ChannelConnectivity.TRANSIENT_FAILURE
_SWITCH_SECONDS = 0.01  # between two checks whether the next connection is ready


class AioChannel(PinnedChannel[grpc.aio.Channel], grpc.aio.Channel):
    """A pinned channel that follows its credential. Otherwise it behaves like ``grpc.aio.Channel``.

    A call that the policy refuses raises ``grpc.aio.AioRpcError`` when it is made, with a
    ``google.rpc.ErrorInfo`` in its trailing metadata; nothing is sent. Calls that are made before
    the server was verified wait for that, within their deadlines.

    Args:
        make: makes a gRPC channel with the credential in force, to a target.
        config: where the channel goes, to which server, and with what.
        service_config: the settings for calls that wait for the server to be verified.
    """

    def __init__(
        self,
        make: Callable[[str], grpc.aio.Channel],
        config: ChannelConfig,
        service_config: ServiceConfig,
    ) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.running_calls = RunningCalls()
        super().__init__(make, config, service_config)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the connectivity; ``SHUTDOWN`` only once the owner has closed the channel."""
        state = self._channel.get_state(try_to_connect)
        return state if state is not _SHUTDOWN or self.is_closed else _FAILURE

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connectivity is another one, also while connections are replaced.

        Raises:
            grpc.aio.UsageError: as gRPC does, if the owner has closed the channel.
        """
        while self.get_state() is last_observed_state:
            try:
                await self._channel.wait_for_state_change(last_observed_state)
            except grpc.aio.UsageError:
                self.check_open()
                # The connection was ended, and perhaps its successor can't be made yet.
                await asyncio.sleep(_SWITCH_SECONDS)

    async def channel_ready(self) -> None:
        """Wait until the server is verified and accepted, and the channel is connected.

        Raises:
            grpc.aio.UsageError: as gRPC does, if the owner has closed the channel.
        """
        state = None
        while state is not _READY:
            self.check_open()
            await self._wait_until_verified(
                lambda: None, wait_for_ready=True, retry_delays=iter(())
            )
            state = self.get_state(try_to_connect=True)
            if state is not _READY:
                await self.wait_for_state_change(state)

    async def close(self, grace: float | None = None) -> None:
        """Close the channel; running calls have ``grace`` seconds to end."""
        open_connections = self.connections.rotation.stop()
        await asyncio.gather(
            *(self.running_calls.close(item.channel, grace) for item in open_connections)
        )
        self.connections.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._closing:
            await asyncio.wait(self._closing)

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channel."""
        await self.close()

    def check_policy(self, method: str) -> None:
        """Raise if the policy does not let the pinned server answer a method."""
        refusal = self.connections.refuse_by_policy(method)
        if refusal is not None:
            raise to_rpc_error(refusal)

    def check_open(self) -> None:
        """Raise if the owner has closed the channel.

        Raises:
            grpc.aio.UsageError: as gRPC does; a call on a closed gRPC channel may end the process.
        """
        if self.is_closed:
            raise grpc.aio.UsageError("Channel is closed.")

    async def begin(
        self,
        start: Callable[[Connection[grpc.aio.Channel], float | None], AioBoundCall],
        remaining: Callable[[], float | None],
        *,
        wait_for_ready: bool,
        retry_delays: Iterator[float],
    ) -> AioBoundCall:
        """Begin a call once the server is verified.

        Args:
            start: starts the call on a connection, within so many seconds.
            remaining: returns the seconds that the call has left.
            wait_for_ready: whether the call waits for a server that is not available yet.
            retry_delays: the seconds before each further attempt to verify the server.

        Raises:
            grpc.aio.AioRpcError: if the server is not accepted, or the deadline is exceeded.
        """
        await self._wait_until_verified(
            remaining, wait_for_ready=wait_for_ready, retry_delays=retry_delays
        )
        connection = self.connections.acquire_verified()
        if connection is None:
            self.check_open()
            raise await self._no_connection_error(remaining())
        return start(connection, remaining())

    async def _wait_until_verified(
        self,
        remaining: Callable[[], float | None],
        *,
        wait_for_ready: bool,
        retry_delays: Iterator[float],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        checks = self.connections.checks
        try:
            while not checks.accepted and not self.is_closed:
                probing = checks.request_round()
                if probing is not None:
                    waiting = asyncio.shield(asyncio.wrap_future(probing))
                    await asyncio.wait_for(waiting, remaining())
                if not checks.accepted:
                    delay = checks.retry_delay() if wait_for_ready else next(retry_delays, None)
                    if delay is None:
                        raise await self._no_connection_error(remaining())
                    await asyncio.wait_for(asyncio.sleep(delay), remaining())
        except TimeoutError:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.aio.Metadata(),
                grpc.aio.Metadata(),
                details=f"Deadline Exceeded before {self._config.pin.spiffe_id} was verified",
            ) from None
        self._advance()

    async def _no_connection_error(self, remaining: float | None) -> grpc.aio.AioRpcError:
        refusal = self.connections.refuse_without_connection()
        return await no_connection_error(refusal, self._config.explainer, remaining)

    def _advance_soon(self) -> None:
        # Before its first call a channel has no loop; that call advances it.
        if self._loop is not None:
            # A loop that has closed took its channels with it.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._advance)

    def _advance(self) -> None:
        self.connections.advance()
        if self.is_closed:
            return
        if self.connections.rotation.is_switching and self._loop is not None:
            self._timer = self._timer or self._loop.call_later(_SWITCH_SECONDS, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._advance()

    def _controls(
        self, channel: grpc.aio.Channel
    ) -> tuple[Callable[[bool], bool], Callable[[], None]]:
        def check_ready(connect: bool) -> bool:
            # A watch would tell sooner, but gRPC never frees a channel that has one.
            return channel.get_state(connect) is _READY

        def close() -> None:
            if self._loop is not None:
                task = self._loop.create_task(self.running_calls.close(channel))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

        return check_ready, close

    def _note_switch(self) -> None:
        pass


class _Callable(CallableBase[grpc.aio.Channel]):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._channel.check_policy(self._method)
        connection = self._channel.connections.acquire()
        if connection is not None:
            return self._start(connection, args, kwargs)
        self._channel.check_open()
        settings = self._channel.service_config.of_method(self._method)
        wait_for_ready = wait_for_ready_of(args, kwargs)

        def start(acquired: Connection[grpc.aio.Channel], seconds: float | None) -> AioBoundCall:
            return self._start(acquired, *with_timeout(args, kwargs, seconds))

        return AioPendingCall(
            lambda remaining: self._channel.begin(
                start,
                remaining,
                wait_for_ready=(
                    settings.wait_for_ready if wait_for_ready is None else bool(wait_for_ready)
                ),
                retry_delays=settings.retry_delays(),
            ),
            settings.shorter(timeout_of(args, kwargs)),
        )

    def _start(
        self, connection: Connection[grpc.aio.Channel], args: Any, kwargs: Any
    ) -> AioBoundCall:
        try:
            call = self._inner_on(connection)(*args, **kwargs)
        except BaseException:
            connection.release()
            raise
        running_calls = self._channel.running_calls
        if running_calls.is_needed:
            running_calls.add(connection.channel, call)
        return self._bind(call, connection)

    def _bind(self, call: Any, connection: Connection[grpc.aio.Channel]) -> AioBoundCall:
        return AioBoundStream(call, connection, self._method, self._channel.connections.streams)


class _UnaryUnary(_Callable, grpc.aio.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    def _bind(self, call: Any, connection: Connection[grpc.aio.Channel]) -> AioBoundCall:
        return AioBoundCall(call, connection)


class _UnaryStream(_Callable, grpc.aio.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    pass


class _WritingCallable(_Callable):
    def _make_inner(self, channel: grpc.aio.Channel) -> Any:
        inner = super()._make_inner(channel)
        keep_server_status(inner)
        return inner


class _StreamUnary(_WritingCallable, grpc.aio.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamStream(_WritingCallable, grpc.aio.StreamStreamMultiCallable):  # type: ignore[type-arg]
    pass


AioChannel._callables = {
    "unary_unary": _UnaryUnary,
    "unary_stream": _UnaryStream,
    "stream_unary": _StreamUnary,
    "stream_stream": _StreamStream,
}
