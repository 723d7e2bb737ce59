"""How many calls of an asyncio server run, and what a call that has ended leaves behind.

A call that is aborted holds the error of ``abort()``. The error's traceback holds the frames of the
handler, and they hold the call. Before grpcio 1.81, gRPC's core gets a call back only when Python
frees it, so an aborted one stays until the garbage collector comes. Until then its stream counts
for its connection (``grpc.max_concurrent_streams``). Once there are that many, gRPC refuses all
calls of the connection (``RST_STREAM`` with code 7); then nothing runs any more that would make the
collector come. So these cycles are broken when a call ends. What is left, as in gRPC's own servers
before 1.81: a handler of a stream of requests that does not read it to its end.

gRPC's own count of calls (``maximum_concurrent_rpcs``) is kept by each loop that accepts calls. It
begins anew with each dispatcher, so any peer could exceed it with paths that are not UTF-8. Up to
grpcio 1.83, it also refuses the first call that comes after the limit was reached, even if nothing
runs by then; up to 1.78, each refused call raises the limit by one. So calls are counted here.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined] # it has no types

_VERSION = tuple(int(part) for part in grpc.__version__.split(".")[:2])
# From this version on, gRPC itself gives a call back to its core as soon as the call has ended.
_RELEASES_CALLS = _VERSION >= (1, 81)


class RunningCalls:
    """The running calls of a server, counted in the thread of its event loop.

    They are not counted where nobody has to know: without a limit, from grpcio 1.81 on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int | None) -> None:
        """Count calls.

        Args:
            loop: the loop that the calls run on.
            most: how many may run at once; None if there is no limit.
        """
        self._loop = loop
        self._most = most
        self._running = 0
        self._has_to_know = most is not None or not _RELEASES_CALLS

    def begin(self, call: Any) -> bool:
        """Count a call that was accepted, until its handler ends; return False if it is too many.

        The caller refuses a call that is too many. One whose handler never runs must be ended with
        ``end``.
        """
        if not self._has_to_know:
            return True
        if self._most is not None and self._running >= self._most:
            return False
        self._running += 1
        context = cygrpc._ServicerContext(call, None, None, self._loop)
        context.add_done_callback(lambda _: self._note_end(call))
        return True

    def end(self, call: Any) -> None:
        """Count a call no more whose handler has not run."""
        if self._has_to_know:
            self._running -= 1
        release(call)

    def _note_end(self, call: Any) -> None:
        self._running -= 1
        # The other callbacks of the call, which release() forgets, follow in this turn.
        self._loop.call_soon(release, call)


def release(call: Any) -> None:
    """Break the cycles through which a call that has ended would hold itself."""
    for held in gc.get_referents(call):
        if isinstance(held, BaseException):
            held.__traceback__ = held.__context__ = held.__cause__ = None
        elif isinstance(held, list):
            # Callbacks, each with the context of the call.
            held.clear()
