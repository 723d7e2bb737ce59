"""What the channels of both kinds have in common: their connections, and how calls begin."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection
from typing import Any, ClassVar, Generic, TypeVar

from pki.rpc.client.channel_config import ChannelConfig
from pki.rpc.client.connection import Connection
from pki.rpc.client.connections import ChannelConnections
from pki.rpc.client.service_config import ServiceConfig
from pki.tls.target import Address

Inner = TypeVar("Inner")

_TIMEOUT_AT, _WAIT_FOR_READY_AT = 1, 4  # among the arguments of a multi-callable


class PinnedChannel(Generic[Inner]):
    """A channel that is pinned to one server and follows its workload's credential.

    Args:
        make: makes a gRPC channel with the credential in force, to a target.
        config: where the channel goes, to which server, and with what.
        service_config: the settings for calls that wait for the server to be verified.
    """

    _callables: ClassVar[dict[str, type[CallableBase[Any]]]]

    def __init__(
        self,
        make: Callable[[str], Inner],
        config: ChannelConfig,
        service_config: ServiceConfig,
    ) -> None:
        self._make = make
        self._config = config
        self.service_config = service_config
        self.connections: ChannelConnections[Inner] = ChannelConnections(
            config, self._connect, changed=self._advance_soon, switched=self._note_switch
        )

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a unary-unary method."""
        return self._callable("unary_unary", method, args, kwargs)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a unary-stream method."""
        return self._callable("unary_stream", method, args, kwargs)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a stream-unary method."""
        return self._callable("stream_unary", method, args, kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a stream-stream method."""
        return self._callable("stream_stream", method, args, kwargs)

    @property
    def is_closed(self) -> bool:
        """Whether the owner has closed the channel."""
        return self.connections.rotation.is_closed

    @property
    def _channel(self) -> Inner:
        """The gRPC channel for new calls."""
        return self.connections.rotation.current.channel

    def _callable(self, kind: str, method: str, args: Any, kwargs: Any) -> Any:
        return self._callables[kind](self, kind, method, args, kwargs)

    def _connect(self, addresses: Collection[Address]) -> Connection[Inner]:
        target, grpc_connections = self._config.grpc_target(addresses)
        # Before the channel is made: if the credential changes in between, the connection counts as
        # old, and is replaced.
        snapshot = self._config.snapshot()
        channel = self._make(target)
        check_ready, close = self._controls(channel)
        return Connection(
            channel,
            snapshot.version,
            snapshot.credential.leaf.not_valid_after_utc,
            addresses=addresses,
            clock=self._config.clock,
            check_ready=check_ready,
            close=close,
            explainer=self._config.explainer,
            grpc_connections=grpc_connections,
        )

    @abstractmethod
    def _controls(self, channel: Inner) -> tuple[Callable[[bool], bool], Callable[[], None]]:
        """Return what tells whether a gRPC channel is ready, and what closes it."""

    @abstractmethod
    def _advance_soon(self) -> None:
        """Advance the connections; called from any thread."""

    @abstractmethod
    def _note_switch(self) -> None:
        """Follow a switch of new calls to another connection."""


class CallableBase(Generic[Inner]):
    """A multi-callable of a pinned channel.

    Args:
        channel: the channel.
        kind: the name of gRPC's method that makes such a callable.
        method: the path of the RPC method.
        args: the further arguments of that method.
        kwargs: the same, by name.
    """

    def __init__(self, channel: Any, kind: str, method: str, args: Any, kwargs: Any) -> None:
        self._channel = channel
        self._kind = kind
        self._method = method
        self._args = args
        self._kwargs = kwargs
        self._inner: tuple[object, Any] = (None, None)

    def _inner_on(self, connection: Connection[Inner]) -> Any:
        """Return gRPC's own callable on a connection."""
        made_on, inner = self._inner
        if made_on is not connection:
            inner = connection.make_while_open(self._make_inner)
            self._inner = (connection, inner)
        return inner

    def _make_inner(self, channel: Inner) -> Any:
        return getattr(channel, self._kind)(self._method, *self._args, **self._kwargs)


def timeout_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the timeout among a call's arguments; None if there is none."""
    return args[_TIMEOUT_AT] if len(args) > _TIMEOUT_AT else kwargs.get("timeout")


def wait_for_ready_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return ``wait_for_ready`` among a call's arguments; None if it is not there."""
    if len(args) > _WAIT_FOR_READY_AT:
        return args[_WAIT_FOR_READY_AT]
    return kwargs.get("wait_for_ready")


def with_timeout(
    args: tuple[Any, ...], kwargs: dict[str, Any], seconds: float | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a call's arguments with another timeout."""
    if len(args) > _TIMEOUT_AT:
        return (*args[:_TIMEOUT_AT], seconds, *args[_TIMEOUT_AT + 1 :]), kwargs
    return args, {**kwargs, "timeout": seconds}
