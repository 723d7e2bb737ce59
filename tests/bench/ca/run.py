"""``make bench-ca``: what a certificate costs, beside OpenBao and beside the bare work."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.bench.ca.library import library
from tests.bench.ca.service import service
from tests.bench.children import ROOT
from tests.bench.rows import Row, print_table, write_json

RESULTS = ROOT / "build" / "bench-ca.json"
MEASURES: dict[str, Callable[[Path, bool], Iterable[Row]]] = {
    "service": service,
    "library": library,
}


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Run only this: {', '.join(MEASURES)}.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Spend less time: no reliable result.")] = False,
) -> None:
    """Measure, print a table, write build/bench-ca.json; 1 if a bar is missed."""
    chosen = only or list(MEASURES)
    if unknown := set(chosen) - set(MEASURES):
        raise typer.BadParameter(f"no measure is called {', '.join(sorted(unknown))}")
    progress = Console(stderr=True)
    rows: list[Row] = []
    # Not in memory: what is durable is synced to a disk, as where a CA runs.
    scratch = ROOT / "build"
    scratch.mkdir(exist_ok=True)
    for name in chosen:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="bench-ca-", dir=scratch) as home:
            rows += MEASURES[name](Path(home), quick)
        progress.print(f"[dim]{name}: {time.monotonic() - began:.0f} s")
    print_table(rows, "make bench-ca")
    write_json(rows, RESULTS)
    raise typer.Exit(1 if any(row.ok is False for row in rows) else 0)


if __name__ == "__main__":
    typer.run(main)
