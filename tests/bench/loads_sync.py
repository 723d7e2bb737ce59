"""Loads that callers in threads put on a server; as ``loads_aio``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc, payments_pb2_grpc
from services._proto.shop.v1 import payments_pb2 as pay
from tests.bench.tally import Tally, describe

_SECONDS = 20.0
_ASKED = inv.GetStockRequest(sku="tea")
_PACED_THREADS = 32


class SyncLoads:
    """Loads on one channel. Rates are messages (or calls) a second, latencies seconds."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._inventory = inventory_pb2_grpc.InventoryStub(channel)
        self._payments = payments_pb2_grpc.PaymentsStub(channel)
        self._tally = Tally()
        self._running: list[threading.Thread] = []

    def unary(self, seconds: float, at_once: int) -> float:
        """Make unary calls, ``at_once`` at a time."""

        def once() -> int:
            self._inventory.GetStock(_ASKED, timeout=_SECONDS)
            return 1

        return _rate(once, seconds, at_once)

    def server_stream(self, seconds: float, at_once: int, messages: int) -> float:
        """Read streams of ``messages`` messages each."""
        return _rate(lambda: self._read(messages), seconds, at_once)

    def bidi(self, seconds: float, at_once: int, messages: int) -> float:
        """Write and read streams of ``messages`` messages each; count the answers."""
        requests = [pay.SettleRequest(order_id="1", amount_minor=at) for at in range(messages)]

        def once() -> int:
            return sum(1 for _ in self._payments.Settle(iter(requests), timeout=_SECONDS))

        return _rate(once, seconds, at_once)

    def latencies(self, seconds: float) -> list[float]:
        """Make one unary call after the other."""
        latencies = []
        end = time.perf_counter() + seconds
        begin = time.perf_counter()
        while begin < end:
            self._inventory.GetStock(_ASKED, timeout=_SECONDS)
            now = time.perf_counter()
            latencies.append(now - begin)
            begin = now
        return latencies

    def paced(self, seconds: float, rate: float) -> list[float]:
        """Make unary calls at fixed times; a latency counts from when the call was due."""
        begin = time.perf_counter() + 0.05

        def once(due: float) -> float:
            self._inventory.GetStock(_ASKED, timeout=_SECONDS)
            return time.perf_counter() - due

        with ThreadPoolExecutor(max_workers=_PACED_THREADS) as pool:
            calls = []
            for number in range(int(seconds * rate)):
                due = begin + number / rate
                time.sleep(max(0.0, due - time.perf_counter()))
                calls.append(pool.submit(once, due))
            return [call.result() for call in calls]

    def once(self, messages: int) -> None:
        """Make a unary call and read a short stream."""
        self._unary_once()
        self._read(messages)

    def begin(self, callers: int, messages: int) -> None:
        """Have callers make unary calls and read short streams until :meth:`end`."""
        self._tally = Tally()
        self._running = [
            threading.Thread(target=self._call_on, args=(messages,)) for _ in range(callers)
        ]
        for thread in self._running:
            thread.start()

    def end(self) -> dict[str, Any]:
        """Stop them; return how many calls there were and what failed."""
        self._tally.over = True
        for thread in self._running:
            thread.join()
        return self._tally.answer()

    def _call_on(self, messages: int) -> None:
        while not self._tally.over:
            for kind in (self._unary_once, lambda: self._read(messages)):
                try:
                    kind()
                    self._tally.good()
                except grpc.RpcError as error:
                    self._tally.failed(describe(error))

    def _unary_once(self) -> int:
        self._inventory.GetStock(_ASKED, timeout=_SECONDS)
        return 1

    def _read(self, messages: int) -> int:
        asked = inv.WatchStockRequest(sku=str(messages))
        received = sum(1 for _ in self._inventory.WatchStock(asked, timeout=_SECONDS))
        if received != messages:
            self._tally.failed(f"{received} messages of {messages}")
        return received


def _rate(once: Callable[[], int], seconds: float, at_once: int) -> float:
    counts = [0] * at_once
    begin = time.perf_counter()
    end = begin + seconds

    def call_on(place: int) -> None:
        while time.perf_counter() < end:
            counts[place] += once()

    threads = [threading.Thread(target=call_on, args=(place,)) for place in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begin)
