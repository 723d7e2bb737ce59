"""Synchronous channels: pinned, following their credential, verifying their server first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as WaitTimeoutError
from typing import Any, Self

import grpc

from pki.rpc.client.calls.call_sync import (
    LocalCallError,
    bind_call,
    no_connection_error,
    to_rpc_error,
    translate_error,
)
from pki.rpc.client.calls.deadline import deadline
from pki.rpc.client.calls.pending_call_sync import SyncPendingCall
from pki.rpc.client.channel import (
    CallableBase,
    PinnedChannel,
    timeout_of,
    wait_for_ready_of,
    with_timeout,
)
from pki.rpc.client.channel_config import ChannelConfig
from pki.rpc.client.connection import CLOSED_CHANNEL, Connection
from pki.rpc.client.connectivity import Connectivity
from pki.rpc.client.service_config import ServiceConfig


class SyncChannel(PinnedChannel[grpc.Channel], grpc.Channel):
    """A pinned channel that follows its credential. Otherwise it behaves like ``grpc.Channel``.

    A call that the policy refuses raises a ``grpc.RpcError`` when it is made; nothing is sent.
    Calls that are made before the server was verified wait for that, within their deadlines: a call
    for one response blocks its caller, streams and futures do not.

    Args:
        make: makes a gRPC channel with the credential in force, to a target.
        config: where the channel goes, to which server, and with what.
        service_config: the settings for calls that wait for the server to be verified.
    """

    def __init__(
        self,
        make: Callable[[str], grpc.Channel],
        config: ChannelConfig,
        service_config: ServiceConfig,
    ) -> None:
        self._watchers: list[tuple[Callable[[grpc.ChannelConnectivity], None], bool]] = []
        super().__init__(make, config, service_config)

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False
    ) -> None:
        """Call a function at each change of the connectivity."""
        self._watchers.append((callback, try_to_connect))
        self._channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Stop calling a function at changes of the connectivity."""
        self._watchers = [item for item in self._watchers if item[0] != callback]
        self._channel.unsubscribe(callback)

    def close(self) -> None:
        """Close the channel; running calls are cancelled."""
        self.connections.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the channel."""
        self.close()

    def acquire(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Connection[grpc.Channel], tuple[Any, ...], dict[str, Any]]:
        """Check a call and hold a connection for it; wait until the server is verified.

        Returns:
            The connection, and the call's arguments with the seconds that it has left.

        Raises:
            LocalCallError: if the policy refuses the call, the server is not accepted, or the
                deadline is exceeded.
        """
        connection = self.acquire_now(method)
        if connection is not None:
            return connection, args, kwargs
        settings = self.service_config.of_method(method)
        end = deadline(settings.shorter(timeout_of(args, kwargs)))
        wait_for_ready = wait_for_ready_of(args, kwargs)
        self._wait_until_verified(
            end,
            wait_for_ready=(
                settings.wait_for_ready if wait_for_ready is None else bool(wait_for_ready)
            ),
            retry_delays=settings.retry_delays(),
        )
        connection = self.connections.acquire_verified()
        if connection is None:
            if self.is_closed:
                raise ValueError(CLOSED_CHANNEL)  # as gRPC's own does
            raise self._no_connection_error(end)
        if end is not None:
            args, kwargs = with_timeout(args, kwargs, max(0.0, end - time.monotonic()))
        return connection, args, kwargs

    def acquire_now(self, method: str) -> Connection[grpc.Channel] | None:
        """Check a call and hold a connection for it; return None if the call must wait, or ends.

        Raises:
            LocalCallError: if the policy refuses the call.
        """
        refusal = self.connections.refuse_by_policy(method)
        if refusal is not None:
            raise to_rpc_error(refusal)
        if self.connections.rotation.is_switching:
            # The next recheck may be some tenths of a second away.
            self._advance_soon()
        return self.connections.acquire()

    def _wait_until_verified(
        self, end: float | None, *, wait_for_ready: bool, retry_delays: Iterator[float]
    ) -> None:
        checks = self.connections.checks
        while not checks.accepted and not self.is_closed:
            probing = checks.request_round()
            if probing is not None:
                try:
                    probing.result(self._remaining(end))
                except WaitTimeoutError:
                    self._remaining(end)
            if not checks.accepted:
                delay = checks.retry_delay() if wait_for_ready else next(retry_delays, None)
                if delay is None:
                    raise self._no_connection_error(end)
                left = self._remaining(end)
                time.sleep(delay if left is None else min(delay, left))
        self._advance_soon()

    def _no_connection_error(self, end: float | None) -> LocalCallError:
        left = None if end is None else end - time.monotonic()
        refusal = self.connections.refuse_without_connection()
        return no_connection_error(refusal, self._config.explainer, left)

    def _remaining(self, end: float | None) -> float | None:
        """Return the seconds left; None without a deadline.

        Raises:
            LocalCallError: if there are none.
        """
        if end is None:
            return None
        left = end - time.monotonic()
        if left <= 0:
            raise LocalCallError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"Deadline Exceeded before {self._config.pin.spiffe_id} was verified",
            )
        return left

    def _advance_soon(self) -> None:
        self.connections.advance()

    def _controls(self, channel: grpc.Channel) -> tuple[Callable[[bool], bool], Callable[[], None]]:
        connectivity = Connectivity(channel)

        def close() -> None:
            connectivity.close()
            channel.close()

        return connectivity.check_ready, close

    def _note_switch(self) -> None:
        for callback, try_to_connect in self._watchers:
            self._channel.subscribe(callback, try_to_connect)


class _Callable(CallableBase[grpc.Channel]):
    def _begin(self, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Begin a call that its caller reads later, at once or when the server is verified."""
        while (connection := self._channel.acquire_now(self._method)) is not None:
            if (call := self._start(kind, connection, args, kwargs)) is not None:
                return call

        def begin() -> Any:
            while True:
                held = self._channel.acquire(self._method, args, kwargs)
                if (call := self._start(kind, *held)) is not None:
                    return call

        # gRPC raises its error for a closed channel at once, too.
        if self._channel.is_closed:
            return begin()
        settings = self._channel.service_config.of_method(self._method)
        return SyncPendingCall(begin, settings.shorter(timeout_of(args, kwargs)))

    def _start(
        self,
        kind: str,
        connection: Connection[grpc.Channel],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Start a call that holds the connection until it ends.

        Return None if the connection was ended before the call could begin.
        """
        try:
            call = getattr(self._inner_on(connection), kind)(*args, **kwargs)
        except BaseException as error:
            connection.release()
            if isinstance(error, ValueError) and connection.refused_to_begin(error):
                return None
            raise
        return bind_call(call, connection, self._method, self._channel.connections.streams)


class _StreamResponse(_Callable):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._begin("__call__", args, kwargs)


class _UnaryResponse(_Callable):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(lambda inner: inner, args, kwargs)

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(lambda inner: inner.with_call, args, kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        return self._begin("future", args, kwargs)

    def _call(
        self, select: Callable[[Any], Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        while True:
            connection, args, kwargs = self._channel.acquire(self._method, args, kwargs)
            began = time.monotonic()
            try:
                return select(self._inner_on(connection))(*args, **kwargs)
            except grpc.RpcError as error:
                timeout = timeout_of(args, kwargs)
                left = None if timeout is None else began + timeout - time.monotonic()
                raise translate_error(error, connection, left) from None
            except ValueError as error:
                # The connection was ended before the call was sent: it takes the next one.
                if not connection.refused_to_begin(error):
                    raise
            finally:
                connection.release()


class _UnaryUnary(_UnaryResponse, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _UnaryStream(_StreamResponse, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamUnary(_UnaryResponse, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    pass


class _StreamStream(_StreamResponse, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    pass


SyncChannel._callables = {
    "unary_unary": _UnaryUnary,
    "unary_stream": _UnaryStream,
    "stream_unary": _StreamUnary,
    "stream_stream": _StreamStream,
}
