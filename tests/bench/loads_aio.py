"""Loads that asyncio callers put on a server, and their rates and latencies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc, payments_pb2_grpc
from services._proto.shop.v1 import payments_pb2 as pay
from tests.bench.tally import Tally, describe

_SECONDS = 20.0
_ASKED = inv.GetStockRequest(sku="tea")


class AioLoads:
    """Loads on one channel. Rates are messages (or calls) a second, latencies seconds."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._inventory = inventory_pb2_grpc.InventoryStub(channel)
        self._payments = payments_pb2_grpc.PaymentsStub(channel)
        self._tally = Tally()
        self._running: list[asyncio.Task[None]] = []

    async def unary(self, seconds: float, at_once: int) -> float:
        """Make unary calls, ``at_once`` at a time."""

        async def once() -> int:
            await self._inventory.GetStock(_ASKED, timeout=_SECONDS)
            return 1

        return await _rate(once, seconds, at_once)

    async def server_stream(self, seconds: float, at_once: int, messages: int) -> float:
        """Read streams of ``messages`` messages each."""
        return await _rate(lambda: self._read(messages), seconds, at_once)

    async def bidi(self, seconds: float, at_once: int, messages: int) -> float:
        """Write and read streams of ``messages`` messages each; count the answers."""

        async def requests() -> AsyncIterator[pay.SettleRequest]:
            for number in range(messages):
                yield pay.SettleRequest(order_id="1", amount_minor=number)

        async def once() -> int:
            answers = 0
            async for _ in self._payments.Settle(requests(), timeout=_SECONDS):
                answers += 1
            return answers

        return await _rate(once, seconds, at_once)

    async def latencies(self, seconds: float) -> list[float]:
        """Make one unary call after the other."""
        latencies = []
        end = time.perf_counter() + seconds
        begin = time.perf_counter()
        while begin < end:
            await self._inventory.GetStock(_ASKED, timeout=_SECONDS)
            now = time.perf_counter()
            latencies.append(now - begin)
            begin = now
        return latencies

    async def paced(self, seconds: float, rate: float) -> list[float]:
        """Make unary calls at fixed times, whether earlier calls have ended or not.

        A call's latency counts from the moment when it was due, so that a delay of the caller
        itself is part of the result.
        """
        begin = time.perf_counter() + 0.05
        latencies: list[float] = []

        async def once(due: float) -> None:
            await self._inventory.GetStock(_ASKED, timeout=_SECONDS)
            latencies.append(time.perf_counter() - due)

        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * rate)):
                due = begin + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(once(due))
        return latencies

    async def once(self, messages: int) -> None:
        """Make a unary call and read a short stream."""
        await self._unary_once()
        await self._read(messages)

    async def begin(self, callers: int, messages: int) -> None:
        """Have callers make unary calls and read short streams until :meth:`end`."""
        self._tally = Tally()
        self._running = [asyncio.create_task(self._call_on(messages)) for _ in range(callers)]

    async def end(self) -> dict[str, Any]:
        """Stop them; return how many calls there were and what failed."""
        self._tally.over = True
        await asyncio.gather(*self._running)
        return self._tally.answer()

    async def _call_on(self, messages: int) -> None:
        while not self._tally.over:
            for kind in (self._unary_once, lambda: self._read(messages)):
                try:
                    await kind()
                    self._tally.good()
                except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                    self._tally.failed(describe(error))

    async def _unary_once(self) -> int:
        await self._inventory.GetStock(_ASKED, timeout=_SECONDS)
        return 1

    async def _read(self, messages: int) -> int:
        received = 0
        asked = inv.WatchStockRequest(sku=str(messages))
        async for _ in self._inventory.WatchStock(asked, timeout=_SECONDS):
            received += 1
        if received != messages:
            self._tally.failed(f"{received} messages of {messages}")
        return received


async def _rate(once: Callable[[], Awaitable[int]], seconds: float, at_once: int) -> float:
    begin = time.perf_counter()
    end = begin + seconds

    async def call_on() -> int:
        count = 0
        while time.perf_counter() < end:
            count += await once()
        return count

    counts = await asyncio.gather(*(call_on() for _ in range(at_once)))
    return sum(counts) / (time.perf_counter() - begin)
