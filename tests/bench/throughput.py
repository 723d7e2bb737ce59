"""Throughput and latency of calls, of both sides.

Each side has a server and a caller in processes of their own, which all run for the whole measure.
The sides take turns in short runs, and which one goes first changes with each pair. The processor
time that server and caller together spend on a message is measured too, because it hardly depends
on what else the machine does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.bench.children import Child
from tests.bench.environment import Environment
from tests.bench.rows import Pairs, Row
from tests.bench.sides import BARE, OURS

AT_ONCE = {"aio": 16, "sync": 4}
STREAMS_AT_ONCE = {"aio": 4, "sync": 2}
MESSAGES = 100
_LEAST_RATIO = {"unary": 0.96, "server_stream": 0.98, "bidi": 0.98}
_MOST_PROCESSOR = 30.0  # microseconds added to a unary call, server and caller together
_LEAST_LOGGED = 0.90
_MOST_ADDED = 25.0  # microseconds
_WARM_UP_SECONDS = 0.5
_MILLION = 1e6

_RATES = {
    "unary": ("unary calls/s", {}),
    "server_stream": (f"server streams of {MESSAGES}, messages/s", {"messages": MESSAGES}),
    "bidi": (f"two-way streams of {MESSAGES}, messages/s", {"messages": MESSAGES}),
}


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time is spent on a measure.

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
        stack: stops both at its end.
        env: makes their directories.
        settings: ``kinds``, ``side`` and what the side needs.
    """

    def __init__(self, stack: ExitStack, env: Environment, settings: dict[str, Any]) -> None:
        place = "-".join([*settings["kinds"], settings["side"]])
        settings = {**settings, "policy": str(env.policy)}
        self.folders = {
            name: env.directory(name, f"{place}-{name}") for name in ("server", "caller")
        }

        def start(module: str, name: str, **more: Any) -> Child:
            log = str(env.home / f"{place}-{name}.log")
            all_settings = {**settings, "directory": str(self.folders[name]), "log": log, **more}
            return stack.enter_context(Child(f"tests.bench.{module}", all_settings, env.home))

        self.server = start("serve", "server")
        self.targets: dict[str, str] = self.server.greeting["targets"]
        self.caller = start("call", "caller", targets=self.targets)

    def cpu(self) -> float:
        """Return the processor seconds that both have used so far."""
        return float(self.server.ask("cpu")) + float(self.caller.ask("cpu"))


@contextmanager
def both_sides(env: Environment, kind: str, **of_ours: Any) -> Iterator[dict[str, Pair]]:
    """Run both sides of one kind."""
    with ExitStack() as stack:
        yield {
            BARE: Pair(stack, env, {"kinds": [kind], "side": BARE, **of_ours}),
            OURS: Pair(stack, env, {"kinds": [kind], "side": OURS, **of_ours}),
        }


def turns(pairs: int) -> Iterator[tuple[str, str]]:
    """Yield which side goes first and which second, pair by pair."""
    for number in range(pairs):
        yield (BARE, OURS) if number % 2 else (OURS, BARE)


def throughput(env: Environment, kind: str, effort: Effort) -> Iterator[Row]:
    """Measure calls and messages a second."""
    with both_sides(env, kind) as sides:
        for load in _RATES:
            yield from _rate_rows(sides, kind, load, effort)


def logged_throughput(env: Environment, kind: str, effort: Effort) -> Iterator[Row]:
    """Measure unary calls a second with a log line for every call.

    In a file of its own, and by a handler of Python's logging, for which there is no bar.
    """
    for when, place, least in (("file", "to a file", _LEAST_LOGGED), ("both", "by logging", None)):
        with both_sides(env, kind, when=when) as sides:
            row = _rate_rows(sides, kind, "unary", effort)[0]
            name = f"{row.name}, every call logged {place}"
            is_met = None if least is None or row.ratio is None else row.ratio >= least
            yield Row(name, row.value, row.baseline, row.ratio, least, is_met, row.spread)


def latency(env: Environment, kind: str, effort: Effort) -> Iterator[Row]:
    """Measure the median latency of unary calls, one after the other."""
    medians: dict[str, list[float]] = {BARE: [], OURS: []}
    with both_sides(env, kind) as sides:
        for pair in sides.values():
            pair.caller.ask("latencies", seconds=_WARM_UP_SECONDS)
        for turn in turns(effort.pairs):
            for side in turn:
                [latencies] = sides[side].caller.ask("latencies", seconds=effort.seconds)
                medians[side].append(median(latencies) * _MILLION)
    pairs = Pairs(medians[OURS], medians[BARE])
    added = median(pairs.differences)
    low, high = min(pairs.differences), max(pairs.differences)
    note = f"added {added:.1f} us, {low:.1f} to {high:.1f}"
    yield pairs.row(
        f"latency of a unary call, us added, {kind}", _MOST_ADDED, added <= _MOST_ADDED, note
    )


def _rate_rows(sides: dict[str, Pair], kind: str, load: str, effort: Effort) -> list[Row]:
    """Return the rate of a load; for unary calls also what is added to their processor time."""
    unit, more = _RATES[load]
    at_once = (AT_ONCE if load == "unary" else STREAMS_AT_ONCE)[kind]
    load_settings = {"at_once": at_once, **more}
    readings = {BARE: _Readings(), OURS: _Readings()}
    for pair in sides.values():
        pair.caller.ask(load, seconds=_WARM_UP_SECONDS, **load_settings)
    for turn in turns(effort.pairs):
        for side in turn:
            pair = sides[side]
            before = pair.cpu()
            [rate] = pair.caller.ask(load, seconds=effort.seconds, **load_settings)
            readings[side].rates.append(rate)
            readings[side].costs.append((pair.cpu() - before) / rate / effort.seconds * _MILLION)
    pairs = Pairs(readings[OURS].rates, readings[BARE].rates)
    costs = Pairs(readings[OURS].costs, readings[BARE].costs)
    note = (
        f"processor {median(costs.ours):.1f} us each, {median(costs.differences):+.1f} to bare "
        f"({median(costs.ratios):.3f})"
    )
    least = _LEAST_RATIO[load]
    rows = [
        pairs.row(f"{unit}, {kind}, {at_once} at once", least, median(pairs.ratios) >= least, note)
    ]
    if load == "unary":
        added = median(costs.differences)
        rows.append(
            costs.row(
                f"processor time of a unary call, us added, {kind}",
                _MOST_PROCESSOR,
                added <= _MOST_PROCESSOR,
                f"added {added:.1f} us",
            )
        )
    return rows
