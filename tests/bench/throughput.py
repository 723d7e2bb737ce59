"""Throughput and latency of calls, side by side.

Each side has a server and a caller in processes of their own, and all of them stay for the whole
measure. The sides take turns in short runs; which one goes first changes with each pair. With the
rates goes the processor time that server and caller together spend on a message: it hardly depends
on what else the machine does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.bench.children import Child
from tests.bench.ground import Ground
from tests.bench.rows import Pairs, Row
from tests.bench.sides import BARE, OURS

AT_ONCE = {"aio": 16, "sync": 4}
STREAMS_AT_ONCE = {"aio": 4, "sync": 2}
MESSAGES = 100
_LEAST_RATIO = 0.95
_MOST_ADDED = 30.0  # microseconds
_WARM_UP_SECONDS = 0.5
_MILLION = 1e6

_RATES = {
    "unary": ("unary calls/s", {}),
    "server_stream": (f"server streams of {MESSAGES}, messages/s", {"messages": MESSAGES}),
    "bidi": (f"two-way streams of {MESSAGES}, messages/s", {"messages": MESSAGES}),
}


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is spent on a measure.

    Args:
        pairs: runs of each side.
        seconds: of each run.
    """

    pairs: int
    seconds: float


@dataclass(slots=True)
class _Readings:
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)


class Pair:
    """A server and a caller of one side, each a process.

    Args:
        stack: ends them.
        ground: gives their directories.
        how: ``kinds``, ``side`` and what the side needs.
    """

    def __init__(self, stack: ExitStack, ground: Ground, how: dict[str, Any]) -> None:
        place = "-".join([*how["kinds"], how["side"]])
        settings = {**how, "policy": str(ground.policy)}
        self.folders = {
            name: ground.directory(name, f"{place}-{name}") for name in ("server", "caller")
        }

        def started(module: str, name: str, **more: Any) -> Child:
            log = str(ground.home / f"{place}-{name}.log")
            used = {**settings, "directory": str(self.folders[name]), "log": log, **more}
            return stack.enter_context(Child(f"tests.bench.{module}", used, ground.home))

        self.server = started("serve", "server")
        self.targets: dict[str, str] = self.server.hello["targets"]
        self.caller = started("call", "caller", targets=self.targets)

    def cpu(self) -> float:
        """Return the processor seconds that both have used."""
        return float(self.server.ask("cpu")) + float(self.caller.ask("cpu"))


@contextmanager
def both_sides(ground: Ground, kind: str, **of_ours: Any) -> Iterator[dict[str, Pair]]:
    """Run both sides of one kind."""
    with ExitStack() as stack:
        yield {
            BARE: Pair(stack, ground, {"kinds": [kind], "side": BARE, **of_ours}),
            OURS: Pair(stack, ground, {"kinds": [kind], "side": OURS, **of_ours}),
        }


def turns(pairs: int) -> Iterator[tuple[str, str]]:
    """Return who goes first and second, pair by pair."""
    for number in range(pairs):
        yield (BARE, OURS) if number % 2 else (OURS, BARE)


def throughput(ground: Ground, kind: str, effort: Effort) -> Iterator[Row]:
    """Measure calls and messages a second."""
    with both_sides(ground, kind) as sides:
        for load in _RATES:
            yield _rate_row(sides, kind, load, effort)


def logged_throughput(ground: Ground, kind: str, effort: Effort) -> Iterator[Row]:
    """Measure unary calls a second with a line in the log for every call: no bar."""
    with both_sides(ground, kind, when="both") as sides:
        row = _rate_row(sides, kind, "unary", effort)
        name = f"{row.name}, every call logged"
        yield Row(name, row.value, row.baseline, row.ratio, None, None, row.spread)


def latency(ground: Ground, kind: str, effort: Effort) -> Iterator[Row]:
    """Measure the median latency of unary calls, one after the other."""
    medians: dict[str, list[float]] = {BARE: [], OURS: []}
    with both_sides(ground, kind) as sides:
        for pair in sides.values():
            pair.caller.ask("latencies", seconds=_WARM_UP_SECONDS)
        for turn in turns(effort.pairs):
            for side in turn:
                [found] = sides[side].caller.ask("latencies", seconds=effort.seconds)
                medians[side].append(median(found) * _MILLION)
    pairs = Pairs(medians[OURS], medians[BARE])
    added = median(pairs.differences)
    low, high = min(pairs.differences), max(pairs.differences)
    note = f"added {added:.1f} us, {low:.1f} to {high:.1f}"
    yield pairs.row(
        f"latency of a unary call, us added, {kind}", _MOST_ADDED, added <= _MOST_ADDED, note
    )


def _rate_row(sides: dict[str, Pair], kind: str, load: str, effort: Effort) -> Row:
    words, more = _RATES[load]
    at_once = (AT_ONCE if load == "unary" else STREAMS_AT_ONCE)[kind]
    how = {"at_once": at_once, **more}
    readings = {BARE: _Readings(), OURS: _Readings()}
    for pair in sides.values():
        pair.caller.ask(load, seconds=_WARM_UP_SECONDS, **how)
    for turn in turns(effort.pairs):
        for side in turn:
            pair = sides[side]
            before = pair.cpu()
            [rate] = pair.caller.ask(load, seconds=effort.seconds, **how)
            readings[side].rates.append(rate)
            readings[side].costs.append((pair.cpu() - before) / rate / effort.seconds * _MILLION)
    pairs = Pairs(readings[OURS].rates, readings[BARE].rates)
    costs = Pairs(readings[OURS].costs, readings[BARE].costs)
    note = (
        f"processor {median(costs.ours):.1f} us each, {median(costs.differences):+.1f} to bare "
        f"({median(costs.ratios):.3f})"
    )
    kept = median(pairs.ratios) >= _LEAST_RATIO
    return pairs.row(f"{words}, {kind}, {at_once} at once", _LEAST_RATIO, kept, note)
