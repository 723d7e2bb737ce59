"""``handfast.ca.v1.Trust``: what to trust and whom no longer, told at once."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc.aio

from pki._proto.handfast.ca.v1 import trust_pb2, trust_pb2_grpc
from pki.access.peer import peer
from pki.daemon.follower import Follower
from pki.daemon.limits.budgets import Budget
from pki.daemon.limits.stream_starts import has_begun
from pki.daemon.status import admit, answer
from pki.daemon.workload import STREAM_SECONDS
from pki.errors import InputError

if TYPE_CHECKING:
    from pki.daemon.parts import CaParts

_Context = grpc.aio.ServicerContext[Any, Any]
# What a follower with a thousand lists says of itself is a third of this.
_MOST_BYTES = 128 * 1024
_MOST_STREAMS, _LEAST_STREAMS = 16, 2
_EARLIEST = 0.7
"""When a heartbeat comes at the earliest, as a share of the longest silence."""
_MOST_HEARTBEATS = 500.0
"""Of all streams in a second: a process can write some thousand messages in that time."""


class TrustHandler(trust_pb2_grpc.TrustServicer):
    """Answers every workload of the trust domain."""

    def __init__(self, parts: CaParts) -> None:
        self._parts = parts
        # The running streams of each certificate, by its serial number.
        self._running: dict[int, list[Follower]] = {}

    async def WatchTrust(
        self, request: trust_pb2.WatchTrustRequest, context: _Context
    ) -> AsyncIterator[trust_pb2.TrustUpdate]:
        """Send what is in force, and then each change."""
        parts, caller = self._parts, peer()

        def check() -> None:
            if request.ByteSize() > _MOST_BYTES:
                raise InputError("no follower has so many lists")
            parts.budgets.take(Budget.FOLLOWING, f"{caller.serial:x}".encode())

        await admit(context, check)
        ends_at = min(caller.not_after, parts.own_leaf_not_after())
        if parts.context.ledger.place.is_shared or parts.workers > 1:
            # Soon enough for the load to be level again after a replica has come back.
            seconds = random.uniform(0.75, 1.0) * STREAM_SECONDS  # noqa: S311 - no secret
            ends_at = min(ends_at, parts.context.now() + timedelta(seconds=seconds))
        follower = Follower(request, ends_at)
        running = self._running.setdefault(caller.serial, [])
        running.append(follower)
        # The oldest end, not the newest: those may be of connections that are gone.
        del running[: -max(_LEAST_STREAMS, _MOST_STREAMS // parts.workers)]
        try:
            async for update in self._updates(follower, running):
                yield update
        finally:
            if follower in running:
                running.remove(follower)
            if not running:
                self._running.pop(caller.serial, None)

    async def _updates(
        self, follower: Follower, running: list[Follower]
    ) -> AsyncIterator[trust_pb2.TrustUpdate]:
        parts = self._parts
        state, seconds = parts.feed.state, self._longest_silence()
        # The first heartbeat comes at once: it says how long a silence may last.
        yield follower.heartbeat(state, parts.context.now(), seconds)
        for update in follower.updates(state):
            yield update
        # Tells the follower that it has everything.
        yield follower.heartbeat(state, parts.context.now(), seconds)
        has_begun()
        while not parts.is_stopping and follower in running:
            # Not all that heard of the same change at the same time again.
            pause = seconds * random.uniform(_EARLIEST, 1.0)  # noqa: S311 - no secret
            newer = await parts.feed.wait(state, pause)
            seconds = self._longest_silence()
            if newer is not state:
                state = newer
                for update in follower.updates(state):
                    yield update
            yield follower.heartbeat(state, parts.context.now(), seconds)

    def _longest_silence(self) -> float:
        """Return how long a follower waits for its next message at most, in seconds.

        It grows with the number of followers: else ten thousand of them take half of the time that
        their renewals need.
        """
        least = self._parts.heartbeat.total_seconds()
        return max(least, self._parts.counters.followers / _MOST_HEARTBEATS)

    async def ReportTrust(
        self, request: trust_pb2.ReportTrustRequest, context: _Context
    ) -> trust_pb2.ReportTrustResponse:
        """Record which bundle the caller trusts, and which certificate it uses."""
        parts, caller = self._parts, peer()
        key = f"report {caller.serial:x}".encode()
        await admit(context, lambda: parts.budgets.take(Budget.RENEWAL, key))

        def work() -> trust_pb2.ReportTrustResponse:
            if len(request.serial) > 40:
                raise InputError("serial is not one that this CA gave")
            parts.report_trust(caller, request)
            return trust_pb2.ReportTrustResponse()

        return await answer(context, parts.listening, work)
