"""Two replicas of a CA on one PostgreSQL, against one of them alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from rich.console import Console

from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.authority.replicas.joining import join_authority
from tests.bench.ca.runs import Run, run
from tests.bench.ca.served import CONNECTIONS, ServedCa, cpu_seconds, make_ca, served_ca
from tests.bench.children import Child
from tests.bench.rows import Pairs, Row
from tests.postgresql import PostgresqlServer, is_installed

_PASSPHRASE = "a passphrase of the CA"
_MOST_A_SECOND, _BAR = 1000, 1.5
_HALF = CONNECTIONS // 2
_CORES = 4
"""One for each replica, one for the clients, one for the database."""


def replicas(home: Path, quick: bool) -> Iterator[Row]:
    """Measure with the same sixteen connections: to one replica, and to both, half each."""
    pairs, seconds = (2, 1.5) if quick else (7, 3.0)
    if not is_installed():
        Console(stderr=True).print("PostgreSQL is not installed: replicas are not measured")
        return
    homes = [home / "one", home / "two"]
    for folder in homes:
        folder.mkdir()
    with ExitStack() as stack:
        # On the disk where the other measures' ledgers are.
        server = stack.enter_context(PostgresqlServer())
        place = PostgresqlDatabase.parse(server.make_database("ca"))
        make_ca(homes[0], ledger=place, passphrase=_PASSPHRASE.encode())
        join_authority(homes[1] / "ca", place, passphrase=_PASSPHRASE.encode()).close()
        environment = {"HANDFAST_CA_PASSPHRASE": _PASSPHRASE}
        cas = [
            stack.enter_context(served_ca(item, made=homes[0], environment=environment))
            for item in homes
        ]

        def load(ca: ServedCa, half: int) -> Child:
            first = half * _HALF
            settings = {
                "address": ca.address,
                "registrars": ca.registrars[first : first + _HALF],
                "first": first,
                "root": str(ca.root),
                "home": str(home),
            }
            return stack.enter_context(Child("tests.bench.ca.lean.issue_load", settings, home))

        # Two processes load either side, so that it is the replicas that differ.
        alone = [load(cas[0], half) for half in (0, 1)]
        shared = [alone[0], load(cas[1], 1)]

        def cpu() -> float:
            return sum(cpu_seconds(ca.pids) for ca in cas) + server.cpu_seconds()

        def measured(loads: Sequence[Child]) -> Run:
            for item in loads:
                item.ask("prepare", number=int(_MOST_A_SECOND * seconds))
            return run(loads, cpu, "issue", seconds=seconds, size=1)

        yield _row(lambda: measured(shared), lambda: measured(alone), pairs)


def _row(two: Callable[[], Run], one: Callable[[], Run], pairs: int) -> Row:
    two()
    one()
    runs = [(two(), one()) for _ in range(pairs)]
    rates = Pairs([mine.rate for mine, _ in runs], [theirs.rate for _, theirs in runs])
    busy, spent = (
        [median(part(item) for item in side) for side in zip(*runs, strict=True)]
        for part in (_busy, _spent)
    )
    cores = len(os.sched_getaffinity(0))
    note = (
        f"{spent[0]:.1f} and {spent[1]:.1f} ms of all processors each, {busy[0]:.1f} and "
        f"{busy[1]:.1f} of {cores} cores busy; the bar needs {_CORES}"
    )
    kept = median(rates.ratios) >= _BAR
    return rates.row(
        "certificates a second by two replicas on one PostgreSQL, against one",
        _BAR,
        kept if kept or cores >= _CORES else None,
        note,
    )


def _spent(item: Run) -> float:
    """Return the processor time of one certificate, of all that have a part in it."""
    return item.server + item.load


def _busy(item: Run) -> float:
    return item.rate * _spent(item) / 1000
