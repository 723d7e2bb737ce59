"""Whether a synchronous channel of gRPC's is connected.

gRPC tells that to watchers alone, through a thread that looks up now and then and misses a
connection that is dropped and made again in between. The channel beneath, where the asyncio kind
gets it from too, answers when it is asked; where a later gRPC has none there, the watcher it is.
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
        channel: gRPC's own, perhaps wrapped by interceptors.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._ask = _asked_of(channel)
        self._watching = self._connecting = False
        self._seen_ready = False

    def is_ready(self, connect: bool) -> bool:
        """Return whether it is connected.

        Args:
            connect: has it connect if it is not.
        """
        if self._ask is not None:
            try:
                return bool(self._ask(connect) == _READY.value[0])
            except ValueError:
                return False  # closed
        if not self._watching or (connect and not self._connecting):
            self.close()
            self._watching, self._connecting = True, connect
            self._channel.subscribe(self._note, try_to_connect=connect)
        return self._seen_ready

    def close(self) -> None:
        """Watch it no more."""
        if self._watching:
            with contextlib.suppress(ValueError):
                self._channel.unsubscribe(self._note)

    def _note(self, state: grpc.ChannelConnectivity) -> None:
        self._seen_ready = state is _READY


def _asked_of(channel: Any) -> Callable[[bool], int] | None:
    for _ in range(_DEEPEST):
        ask: Callable[[bool], int] | None = getattr(channel, "check_connectivity_state", None)
        if ask is not None:
            return ask
        channel = getattr(channel, "_channel", None)
    return None
