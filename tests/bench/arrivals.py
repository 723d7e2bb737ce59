"""Callers that come with a new leaf: each with a connection of its own, and one call.

``python -m tests.bench.arrivals '{"target": ..., "directories": [...]}'``. They use bare grpcio,
because only the server is measured: what a caller costs it that it has not seen before.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles

import grpc

from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.bench.children import Child, serve_commands
from tests.bench.environment import Environment
from tests.bench.rows import Pairs, Row
from tests.bench.sides import BARE, OURS, Settings, bare_credentials
from tests.bench.throughput import Pair, turns

_OPTIONS = (
    ("grpc.ssl_target_name_override", "server.shop.internal"),
    ("grpc.use_local_subchannel_pool", 1),
)
_SECONDS = 30.0
_AT_ONCE = 20  # arrivals between two readings of the processor time
_MOST_COST, _MOST_TIMES = 1.3, 1.5
_PACE = 200.0  # calls a second
_A_MINUTE = 1000 / 60  # arrivals a second: a thousand callers renew within a minute
_PERCENTILE = 99
_THOUSAND, _MILLION = 1e3, 1e6


class Arrivals:
    """Arrives with one directory after the other.

    Args:
        settings: ``target`` and ``directories``.
    """

    def __init__(self, settings: Settings) -> None:
        self._target = settings["target"]
        self._credentials = iter([bare_credentials(Path(item)) for item in settings["directories"]])

    def arrive(self, count: int, rate: float = 0.0) -> int:
        """Let so many callers arrive, so many a second, or as fast as they can; return how many."""
        begin = time.monotonic()
        for number in range(count):
            if rate:
                time.sleep(max(0.0, begin + number / rate - time.monotonic()))
            with grpc.secure_channel(self._target, next(self._credentials), _OPTIONS) as channel:
                stub = inventory_pb2_grpc.InventoryStub(channel)
                stub.GetStock(inv.GetStockRequest(sku="tea"), timeout=_SECONDS)
        return count


def arrivals(env: Environment, kind: str, quick: bool) -> Iterator[Row]:
    """Measure what a new caller's first call costs a server, and how it delays other calls."""
    yield _cost(env, kind, 4 if quick else 15)
    yield _delay(env, kind, *((2, 2.0) if quick else (7, 6.0)))


def _directories(env: Environment, name: str, count: int) -> list[str]:
    return [str(env.directory(f"crowd/{name}-{at}", f"{name}-{at}")) for at in range(count)]


def _cost(env: Environment, kind: str, pairs: int) -> Row:
    folders = _directories(env, f"cost-{kind}", (pairs + 1) * _AT_ONCE)
    costs: dict[str, list[float]] = {BARE: [], OURS: []}
    with ExitStack() as stack:
        servers, crowds = {}, {}
        for side in (BARE, OURS):
            pair = Pair(stack, env, {"kinds": [kind], "side": side})
            servers[side] = pair.server
            settings = {"target": pair.targets[kind], "directories": folders}
            crowds[side] = stack.enter_context(Child("tests.bench.arrivals", settings, env.home))
            crowds[side].ask("arrive", count=_AT_ONCE)
        for turn in turns(pairs):
            for side in turn:
                before = float(servers[side].ask("cpu"))
                crowds[side].ask("arrive", count=_AT_ONCE)
                spent = float(servers[side].ask("cpu")) - before
                costs[side].append(spent / _AT_ONCE * _THOUSAND)
    measured = Pairs(costs[OURS], costs[BARE])
    return measured.row(
        f"a new caller's handshake and first call, processor ms of the server, {kind}",
        _MOST_COST,
        median(measured.ratios) <= _MOST_COST,
    )


def _delay(env: Environment, kind: str, pairs: int, seconds: float) -> Row:
    count = int(seconds * _A_MINUTE)
    folders = _directories(env, f"delay-{kind}", pairs * count)
    percentiles: dict[bool, list[float]] = {True: [], False: []}
    with ExitStack() as stack:
        pair = Pair(stack, env, {"kinds": [kind], "side": OURS})
        settings = {"target": pair.targets[kind], "directories": folders}
        crowd = stack.enter_context(Child("tests.bench.arrivals", settings, env.home))
        pair.caller.ask("paced", seconds=1.0, rate=_PACE)
        for number in range(pairs):
            for is_crowded in (number % 2 == 0, number % 2 == 1):
                pair.caller.tell("paced", seconds=seconds, rate=_PACE)
                if is_crowded:
                    crowd.ask("arrive", count=count, rate=_A_MINUTE)
                [latencies] = pair.caller.answer()
                percentiles[is_crowded].append(
                    quantiles(latencies, n=100)[_PERCENTILE - 1] * _MILLION
                )
    measured = Pairs(percentiles[True], percentiles[False])
    return measured.row(
        f"p99 latency of a unary call, us, as 1,000 callers renew within a minute, {kind}, "
        f"{_PACE:.0f} calls/s",
        _MOST_TIMES,
        median(measured.ratios) <= _MOST_TIMES,
    )


if __name__ == "__main__":
    crowd_of_one = Arrivals(json.loads(sys.argv[1]))
    serve_commands({}, {"arrive": crowd_of_one.arrive})
