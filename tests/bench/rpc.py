"""``make bench-rpc``: what handfast costs beside bare grpcio, and whether it keeps its bars."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tests.bench.arrivals import arrivals
from tests.bench.change import change
from tests.bench.children import ROOT
from tests.bench.command import run_measures
from tests.bench.decisions import decisions
from tests.bench.environment import Environment
from tests.bench.revocation import revocation
from tests.bench.rotations import failures, tail
from tests.bench.rows import Row
from tests.bench.sizes import growth
from tests.bench.throughput import Effort, latency, logged_throughput, throughput

RESULTS = ROOT / "build" / "bench-rpc.json"
KINDS = ("aio", "sync")

Measure = Callable[[Environment, bool], Iterable[Row]]


def _for_both(
    measure: Callable[[Environment, str, Effort], Iterable[Row]], effort: Effort
) -> Measure:
    quickly = Effort(15, 0.12)

    def run(env: Environment, quick: bool) -> Iterable[Row]:
        for kind in KINDS:
            yield from measure(env, kind, quickly if quick else effort)

    return run


def _failures(env: Environment, quick: bool) -> Iterable[Row]:
    return _both_at_once(lambda kind: failures(env, kind, 30 if quick else 1000))


def _tail(env: Environment, quick: bool) -> Iterable[Row]:
    pairs, seconds = (3, 2) if quick else (5, 4)
    for kind in KINDS:
        yield from tail(env, kind, pairs, seconds)


def _arrivals(env: Environment, quick: bool) -> Iterable[Row]:
    for kind in KINDS:
        yield from arrivals(env, kind, quick)


def _growth(env: Environment, quick: bool) -> Iterable[Row]:
    return growth(env, 500 if quick else 10_000)


def _revocation(env: Environment, quick: bool) -> Iterable[Row]:
    for kind in KINDS:
        yield from revocation(env, kind, 2 if quick else 5)


def _both_at_once(measure: Callable[[str], Iterable[Row]]) -> list[Row]:
    """Measure both kinds at once; for measures that mostly wait and compare nothing."""
    with ThreadPoolExecutor() as pool:
        by_kind = pool.map(lambda kind: list(measure(kind)), KINDS)
        return [row for rows in by_kind for row in rows]


MEASURES: dict[str, Measure] = {
    "throughput": _for_both(throughput, Effort(101, 0.12)),
    "logged": _for_both(logged_throughput, Effort(51, 0.12)),
    "latency": _for_both(latency, Effort(101, 0.12)),
    "failures": _failures,
    "tail": _tail,
    "arrivals": _arrivals,
    "growth": _growth,
    "revocation": _revocation,
    "change": change,
    "decisions": decisions,
}


def _run(measure: Measure, quick: bool) -> list[Row]:
    # Each measure has a folder and a CA of its own, so that none depends on an earlier one.
    with tempfile.TemporaryDirectory() as home:
        return list(measure(Environment(Path(home)), quick))


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Run only this: {', '.join(MEASURES)}.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Spend less time: no reliable result.")] = False,
) -> None:
    """Measure, print a table, write build/bench-rpc.json; 1 if a bar is missed."""
    measures = {name: partial(_run, item, quick) for name, item in MEASURES.items()}
    run_measures("make bench-rpc", measures, only, RESULTS)


if __name__ == "__main__":
    typer.run(main)
