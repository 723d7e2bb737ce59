"""``make bench-start``: what a start of the command, and of a service, costs in processor time."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from typing import Annotated

import typer

BASELINE = "import cryptography.x509, grpc.aio"
STARTS = {
    "handfast version": "from pki.cli.app import run; raise SystemExit(run(['version']))",
    "import pki; pki.Workload": "import pki; pki.Workload",
}
BARS = {"handfast version": 2.0, "import pki; pki.Workload": 2.5}


def _processor_seconds(program: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # With compiled modules, as pip installs them.
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, env=environment
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(
    runs: Annotated[int, typer.Option(min=1, help="How often each is started.")] = 15,
) -> None:
    """Measure, print the medians; exit 1 if a bar is missed."""
    programs = {BASELINE: BASELINE, **STARTS}
    for program in programs.values():
        _processor_seconds(program)  # so that no run compiles the modules
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    # In turns, so that other load on the machine meets all of them alike.
    for _ in range(runs):
        for name, program in programs.items():
            seconds[name].append(_processor_seconds(program))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    missed = False
    for name, median in medians.items():
        line = f"{name:<36} {median * 1000:5.0f} ms"
        if name in BARS:
            ratio = median / medians[BASELINE]
            missed = missed or ratio > BARS[name]
            line += f"  {ratio:4.2f} times the first; at most {BARS[name]}"
        print(line)
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    typer.run(main)
