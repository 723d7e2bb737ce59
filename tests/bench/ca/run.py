"""``make bench-ca``: what a certificate costs, beside OpenBao and beside the bare work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tests.bench.ca.agents import agents
from tests.bench.ca.followers import followers
from tests.bench.ca.library import library
from tests.bench.ca.lists import lists
from tests.bench.ca.many import many
from tests.bench.ca.renewals import renewals
from tests.bench.ca.replicas import replicas
from tests.bench.ca.service import service
from tests.bench.children import ROOT
from tests.bench.command import run_measures
from tests.bench.rows import Row

RESULTS = ROOT / "build" / "bench-ca.json"
Measure = Callable[[Path, bool], Iterable[Row]]
MEASURES: dict[str, Measure] = {
    "service": service,
    "library": library,
    "many": many,
    "lists": lists,
    "renewals": renewals,
    "followers": followers,
    "replicas": replicas,
    "agents": agents,
}


def _run(measure: Measure, quick: bool) -> list[Row]:
    # Not in memory: what is durable is synced to a disk, as where a CA runs.
    scratch = ROOT / "build"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-ca-", dir=scratch) as home:
        return list(measure(Path(home), quick))


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Run only this: {', '.join(MEASURES)}.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Spend less time: no reliable result.")] = False,
) -> None:
    """Measure, print a table, write build/bench-ca.json; 1 if a bar is missed."""
    measures = {name: partial(_run, item, quick) for name, item in MEASURES.items()}
    run_measures("make bench-ca", measures, only, RESULTS)


if __name__ == "__main__":
    typer.run(main)
