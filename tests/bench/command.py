"""The command of a benchmark: measures what was chosen, prints a table and writes JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import typer
from rich.console import Console

from tests.bench.rows import Row, print_table, write_json


def run_measures(
    title: str,
    measures: Mapping[str, Callable[[], Iterable[Row]]],
    only: Sequence[str] | None,
    results: Path,
) -> None:
    """Run measures, print their table, write their JSON.

    Args:
        title: of the table.
        measures: each by its name.
        only: the names of those to run; None or none for all.
        results: the file for the JSON.

    Raises:
        typer.Exit: 1 if a bar is missed, else 0.
    """
    chosen = only or list(measures)
    if unknown := set(chosen) - set(measures):
        raise typer.BadParameter(f"no measure is called {', '.join(sorted(unknown))}")
    progress = Console(stderr=True)
    rows: list[Row] = []
    for name in chosen:
        began = time.monotonic()
        rows += measures[name]()
        progress.print(f"[dim]{name}: {time.monotonic() - began:.0f} s")
    print_table(rows, title)
    write_json(rows, results)
    raise typer.Exit(1 if any(row.ok is False for row in rows) else 0)
