"""Runs of a load against a served CA: the rate, and the processor time of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.children import Child
from tests.bench.rows import Pairs, Row


@dataclass(frozen=True, slots=True)
class Run:
    """One run: certificates a second, and the processor time of server and load for one, in ms."""

    rate: float
    server: float
    load: float


def run(loads: Sequence[Child], cpu: Callable[[], float], do: str, **arguments: object) -> Run:
    """Have loads work at once.

    Args:
        loads: the processes; each answers with ``done``, ``seconds`` and ``cpu``.
        cpu: returns the processor time that the servers have used.
        do: the command of the loads.
        arguments: of the command.
    """
    before = cpu()
    for load in loads:
        load.tell(do, **arguments)
    answers = [load.answer() for load in loads]
    server = cpu() - before
    done = sum(item["done"] for item in answers)
    rate = sum(item["done"] / item["seconds"] for item in answers)
    spent = sum(item["cpu"] for item in answers)
    return Run(rate, server / done * 1000, spent / done * 1000)


def compared(
    name: str,
    runs: Sequence[tuple[Run, Run]],
    *,
    rate: float | None = None,
    cpu: float | None = None,
) -> tuple[Row, Row]:
    """Return the rows of two sides: the rate, and the server's processor time.

    Args:
        name: what is measured.
        runs: of both sides, in pairs.
        rate: the least share of the other's rate; None for no bar.
        cpu: the most of the other's processor time; None for no bar.
    """
    rates = Pairs([mine.rate for mine, _ in runs], [theirs.rate for _, theirs in runs])
    loads = [median(item.load for item in side) for side in zip(*runs, strict=True)]
    costs = Pairs([mine.server for mine, _ in runs], [theirs.server for _, theirs in runs])
    note = f"load {loads[0]:.2f} and {loads[1]:.2f} ms each"
    is_fast = None if rate is None else median(rates.ratios) >= rate
    is_cheap = None if cpu is None else median(costs.ratios) <= cpu
    return (
        rates.row(name, rate, is_fast, note),
        costs.row(f"{name}: server's processor ms each", cpu, is_cheap),
    )
