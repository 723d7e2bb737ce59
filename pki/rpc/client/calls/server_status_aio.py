"""The server's status, for a call that a server ends while its client still writes.

A server that refuses a call does that. The next write fails, and ``grpc.aio`` reports that failure,
as ``INTERNAL``, in the place of the status that the server has sent (grpc/grpc#36066): for nine in
ten refused calls with many messages. Synchronous channels report the server's status.
"""

from __future__ import annotations

import asyncio
from typing import Any

# A failed write is followed by the status at once, unless gRPC has lost the call.
_STATUS_SECONDS = 5.0


def keep_server_status(multi_callable: Any) -> None:
    """Make the calls of one of gRPC's own multi-callables report the status that the server sent.

    Args:
        multi_callable: makes calls with a stream of requests. It is left as it is if it has not the
            parts that gRPC's own has.
    """
    # The class is private to gRPC. Interceptors get this channel too, and make their calls on it.
    channel = getattr(multi_callable, "_channel", None)
    if hasattr(channel, "call"):
        multi_callable._channel = _CoreChannel(channel)


class _CoreChannel:
    """The channel of gRPC's core beneath a multi-callable."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def call(self, *args: Any) -> _CoreCall:
        return _CoreCall(self._channel.call(*args))


class _CoreCall:
    """The call of gRPC's core beneath a call: a write that fails does not give it its status."""

    def __init__(self, call: Any) -> None:
        self._call = call
        # What is asked for each message is found without a detour.
        self.done = call.done
        self.receive_serialized_message = call.receive_serialized_message
        self.send_serialized_message = call.send_serialized_message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __repr__(self) -> str:
        return repr(self._call)

    def set_internal_error(self, text: str) -> None:
        if not self._call.done():
            asyncio.get_running_loop().call_later(_STATUS_SECONDS, self._give_up, text)

    def _give_up(self, text: str) -> None:
        if not self._call.done():
            self._call.set_internal_error(text)
