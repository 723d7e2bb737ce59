"""``make bench-rpc``: what handfast costs beside bare grpcio, and whether it keeps its promises."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.bench.change import change
from tests.bench.children import ROOT
from tests.bench.decisions import decisions
from tests.bench.ground import Ground
from tests.bench.revocation import revocation
from tests.bench.rotations import failures, tail
from tests.bench.rows import Row, print_table, write_json
from tests.bench.sizes import growth
from tests.bench.throughput import Effort, latency, logged_throughput, throughput

RESULTS = ROOT / "build" / "bench-rpc.json"
KINDS = ("aio", "sync")

Measure = Callable[[Ground, bool], Iterable[Row]]


def _for_both(measure: Callable[[Ground, str, Effort], Iterable[Row]], effort: Effort) -> Measure:
    quickly = Effort(15, 0.12)

    def run(ground: Ground, quick: bool) -> Iterable[Row]:
        for kind in KINDS:
            yield from measure(ground, kind, quickly if quick else effort)

    return run


def _failures(ground: Ground, quick: bool) -> Iterable[Row]:
    return _side_by_side(lambda kind: failures(ground, kind, 30 if quick else 1000))


def _tail(ground: Ground, quick: bool) -> Iterable[Row]:
    pairs, seconds = (3, 2) if quick else (5, 4)
    for kind in KINDS:
        yield from tail(ground, kind, pairs, seconds)


def _growth(ground: Ground, quick: bool) -> Iterable[Row]:
    return growth(ground, 500 if quick else 10_000)


def _revocation(ground: Ground, quick: bool) -> Iterable[Row]:
    for kind in KINDS:
        yield from revocation(ground, kind, 2 if quick else 5)


def _side_by_side(measure: Callable[[str], Iterable[Row]]) -> list[Row]:
    """Measure both kinds at once, where they wait more than they work and nothing is compared."""
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda kind: list(measure(kind)), KINDS)
        return [row for rows in found for row in rows]


MEASURES: dict[str, Measure] = {
    "throughput": _for_both(throughput, Effort(101, 0.12)),
    "logged": _for_both(logged_throughput, Effort(51, 0.12)),
    "latency": _for_both(latency, Effort(101, 0.12)),
    "failures": _failures,
    "tail": _tail,
    "growth": _growth,
    "revocation": _revocation,
    "change": change,
    "decisions": decisions,
}


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Run this alone: {', '.join(MEASURES)}.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Spend less: for a look, not for a result.")] = False,
) -> None:
    """Measure, print a table, write build/bench-rpc.json; 1 if a bar is missed."""
    chosen = only or list(MEASURES)
    if unknown := set(chosen) - set(MEASURES):
        raise typer.BadParameter(f"no measure is called {', '.join(sorted(unknown))}")
    told = Console(stderr=True)
    rows: list[Row] = []
    for name in chosen:
        began = time.monotonic()
        # Each measure has a folder and a CA of its own, so that none depends on those before it.
        with tempfile.TemporaryDirectory() as home:
            found = list(MEASURES[name](Ground(Path(home)), quick))
        rows += found
        told.print(f"[dim]{name}: {time.monotonic() - began:.0f} s")
    print_table(rows)
    write_json(rows, RESULTS)
    raise typer.Exit(1 if any(row.ok is False for row in rows) else 0)


if __name__ == "__main__":
    typer.run(main)
