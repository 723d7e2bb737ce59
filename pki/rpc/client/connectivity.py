"""Whether a synchronous gRPC channel is connected.

gRPC reports this to watchers only, from a thread that checks now and then and misses a connection
that is dropped and made again in between. The channel below, which the asyncio kind uses too,
answers directly. If a later gRPC does not have it, a watcher is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import grpc

_READY = grpc.ChannelConnectivity.READY
_DEEPEST = 8  # interceptors wrap a channel, and each layer keeps the one beneath


class Connectivity:
    """The connectivity of one channel.

    Args:
        channel: gRPC's own channel, perhaps wrapped by interceptors.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._query = _query_of(channel)
        self._watching = self._connecting = False
        self._was_ready = False

    def check_ready(self, connect: bool) -> bool:
        """Return whether the channel is connected.

        Args:
            connect: whether to connect the channel if it is not connected.
        """
        if self._query is not None:
            try:
                return bool(self._query(connect) == _READY.value[0])
            except ValueError:
                return False  # closed
        if not self._watching or (connect and not self._connecting):
            self.close()
            self._watching, self._connecting = True, connect
            self._channel.subscribe(self._note, try_to_connect=connect)
        return self._was_ready

    def close(self) -> None:
        """Remove the watcher."""
        if self._watching:
            with contextlib.suppress(ValueError):
                self._channel.unsubscribe(self._note)

    def _note(self, state: grpc.ChannelConnectivity) -> None:
        self._was_ready = state is _READY


def _query_of(channel: Any) -> Callable[[bool], int] | None:
    for _ in range(_DEEPEST):
        query: Callable[[bool], int] | None = getattr(channel, "check_connectivity_state", None)
        if query is not None:
            return query
        channel = getattr(channel, "_channel", None)
    return None
