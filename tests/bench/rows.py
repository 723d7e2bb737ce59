"""Results of benchmarks: a table for people and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One measure.

    Args:
        name: what was measured, with its unit.
        value: the result of handfast.
        baseline: the result to compare with; None if there is none.
        ratio: the median of the pairwise ratios of value to baseline; None without a baseline.
        bar: the limit; None if there is none.
        ok: whether the bar is kept; None without a bar.
        spread: how far the single runs lay apart, for people.
    """

    name: str
    value: float
    baseline: float | None
    ratio: float | None
    bar: float | None
    ok: bool | None
    spread: str = ""

    def as_json(self) -> dict[str, str | float | bool | None]:
        """Return what programs read."""
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "baseline": _rounded(self.baseline),
            "ratio": _rounded(self.ratio),
            "bar": self.bar,
            "ok": self.ok,
        }


@dataclass(frozen=True, slots=True)
class Pairs:
    """Runs of both sides in pairs, one right after the other.

    Whatever else the machine does affects both runs of a pair alike, so the median of their ratios
    is worth more than the ratio of two medians.
    """

    ours: Sequence[float]
    bare: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """Ours over bare, pair by pair."""
        return [mine / theirs for mine, theirs in zip(self.ours, self.bare, strict=True)]

    @property
    def differences(self) -> list[float]:
        """Ours less bare, pair by pair."""
        return [mine - theirs for mine, theirs in zip(self.ours, self.bare, strict=True)]

    def row(self, name: str, bar: float | None, ok: bool | None, note: str = "") -> Row:
        """Return the row for these pairs."""
        spread = f"{spread_of(self.ratios)} in {len(self.ours)} pairs"
        return Row(
            name,
            median(self.ours),
            median(self.bare),
            median(self.ratios),
            bar,
            ok,
            f"{spread}; {note}" if note else spread,
        )


def spread_of(values: Sequence[float], digits: int = 3) -> str:
    """Return the spread of values: minimum, quartiles and maximum."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    low, _, high = quantiles(values, n=4, method="inclusive")
    least, most = min(values), max(values)
    return f"{least:.{digits}f} [{low:.{digits}f} {high:.{digits}f}] {most:.{digits}f}"


def print_table(rows: Iterable[Row], title: str) -> None:
    """Print rows as a table."""
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    for name in ("handfast", "against", "ratio", "bar"):
        table.add_column(name, justify="right")
    table.add_column("kept")
    table.add_column("least \\[quartiles] most, and more", overflow="fold")
    kept = {True: "[green]yes", False: "[bold red]no", None: "[dim]no bar"}
    for row in rows:
        table.add_row(
            row.name,
            _format(row.value),
            _format(row.baseline),
            "" if row.ratio is None else f"{row.ratio:.3f}",
            "" if row.bar is None else f"{row.bar:g}",
            kept[row.ok],
            row.spread.replace("[", "\\["),
        )
    # A log file has no width, and a table cut to 80 columns can't be read.
    wide = Console()
    console = wide if wide.is_terminal else Console(width=160)
    console.print(table)


def write_json(rows: Iterable[Row], path: Path) -> None:
    """Write rows as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.as_json() for row in rows], indent=2) + "\n")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _format(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.2f}"
