"""``make bench-start``: what a start of the command, and of a service, costs in processor time.

Each start is compared with a baseline of its own, which a Python program can't do without, in
turns, so that other load on the machine meets both alike. Last, certificates for a whole fleet.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tests.bench.rows import Pairs, Row, print_table, write_json

_FLEET, _MOST_OF_FLEET = 1000, 3.0
RESULTS = Path(__file__).resolve().parents[2] / "build" / "bench-start.json"
_COMMAND = "import sys; from pki.cli.entry import main; sys.argv[0] = 'handfast'; main()"


@dataclass(frozen=True, slots=True)
class Start:
    """One start, and what it is compared with.

    Args:
        name: of the measure.
        arguments: of the command ``handfast``; empty for a program.
        program: the program, where it is no command.
        baseline: the program to compare with.
        bar: how many times as long it may take.
    """

    name: str
    arguments: tuple[str, ...]
    program: str
    baseline: str
    bar: float


STARTS = (
    Start("handfast version", ("version",), _COMMAND, "import cryptography.x509", 2.0),
    Start(
        "handfast issue",
        ("issue", "orders", "--out", "OUT"),
        _COMMAND,
        "import sqlalchemy, cryptography.x509, OpenSSL.SSL, typer",
        1.5,
    ),
    Start(
        "import pki; pki.Workload",
        (),
        "import pki; pki.Workload",
        "import grpc.aio, cryptography.x509",
        2.5,
    ),
)


def _processor_seconds(home: Path, program: str, *arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # With compiled modules, as pip installs them.
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    environment["HANDFAST_DIR"] = str(home)
    subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _measure(start: Start, home: Path, runs: int) -> Row:
    ours: list[float] = []
    bare: list[float] = []
    for number in range(runs + 1):
        # A directory of its own each time: the first certificate of a workload.
        out = str(home / "out" / f"{number}")
        arguments = [out if item == "OUT" else item for item in start.arguments]
        took = _processor_seconds(home, start.program, *arguments)
        against = _processor_seconds(home, start.baseline)
        if number:  # the first run compiles the modules
            ours.append(took * 1000)
            bare.append(against * 1000)
    pairs = Pairs(ours, bare)
    row = pairs.row(f"{start.name}, ms against {start.baseline}", start.bar, None)
    assert row.ratio is not None
    return Row(
        row.name,
        row.value,
        row.baseline,
        row.ratio,
        row.bar,
        row.ratio <= start.bar,
        row.spread,
    )


def _measure_fleet(home: Path) -> Row:
    """Measure certificates for a whole fleet: one process, new directories."""
    orders = home / "fleet.csv"
    orders.write_text("name\n" + "".join(f"workload-{number}\n" for number in range(_FLEET)))
    took = _processor_seconds(home, _COMMAND, "issue", "--from", str(orders))
    name = f"handfast issue --from a file of {_FLEET:,}, processor s"
    return Row(name, took, None, None, _MOST_OF_FLEET, took <= _MOST_OF_FLEET)


def main(
    runs: Annotated[int, typer.Option(min=2, help="How often each is started.")] = 15,
) -> None:
    """Measure, print a table, write build/bench-start.json; 1 if a bar is missed."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _processor_seconds(home, _COMMAND, "ca", "init", "--trust-domain", "shop.internal")
        rows = [*(_measure(start, home, runs) for start in STARTS), _measure_fleet(home)]
    print_table(rows, "make bench-start")
    write_json(rows, RESULTS)
    raise typer.Exit(1 if any(row.ok is False for row in rows) else 0)


if __name__ == "__main__":
    typer.run(main)
