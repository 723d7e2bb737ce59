"""The running calls of gRPC's asyncio channels, for a gRPC that does not keep them itself.

A closing channel ends its calls. gRPC keeps them for that since version 1.83; before, it looks for
them in the tasks of the event loop, and does not find a call that is read by an ``async for`` or by
an object around it, as ours are.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import grpc.aio


class RunningCalls:
    """The running calls of all gRPC channels of one asyncio channel."""

    def __init__(self) -> None:
        self.is_needed = True
        """Whether calls must be added: gRPC does not keep them itself."""
        self._calls: weakref.WeakKeyDictionary[grpc.aio.Channel, weakref.WeakSet[Any]] = (
            weakref.WeakKeyDictionary()
        )

    def add(self, channel: grpc.aio.Channel, call: Any) -> None:
        """Add a call that begins on a gRPC channel."""
        # The class of a channel is private to gRPC.
        if hasattr(channel, "_register_call"):
            self.is_needed = False
            return
        self._calls.setdefault(channel, weakref.WeakSet()).add(call)

    async def close(self, channel: grpc.aio.Channel, grace: float | None = None) -> None:
        """Close a gRPC channel, and end its calls.

        Args:
            channel: the channel.
            grace: the seconds that running calls have to end; None: no time.
        """
        running = [call for call in self._calls.pop(channel, ()) if not call.done()]
        if not running:
            await channel.close(grace)
            return
        if grace:
            await asyncio.wait([_end_of(call) for call in running], timeout=grace)
        for call in running:
            call.cancel()
        await channel.close()


def _end_of(call: Any) -> asyncio.Future[None]:
    """Return a future that is done when a call has ended."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    call.add_done_callback(note)
    return ended
