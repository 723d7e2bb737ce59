"""Renewals as a service, beside issue over as many connections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.ca.runs import Run, compared, run
from tests.bench.ca.served import CONNECTIONS, cpu_seconds, served_ca
from tests.bench.children import Child
from tests.bench.rows import Row

_MOST_A_SECOND = 800


def renewals(home: Path, quick: bool) -> Iterator[Row]:
    """Measure issue and both kinds of renewals in turns.

    A certificate is renewed once, over a connection that shows it. So each renewal has a connection
    of its own: one that is open since before, as an agent's is that follows the CA, or a new one.
    """
    pairs, seconds = (2, 1.0) if quick else (7, 3.0)
    number = int(_MOST_A_SECOND * seconds) + CONNECTIONS
    with served_ca(home) as ca:
        settings = {
            "address": ca.address,
            "registrars": ca.registrars,
            "root": str(ca.root),
            "home": str(home),
        }
        with Child("tests.bench.ca.lean.issue_load", settings, home) as load:

            def measured(do: str, **arguments: object) -> Run:
                arguments["seconds"] = seconds
                return run([load], lambda: cpu_seconds(ca.pids), do, **arguments)

            def issue() -> Run:
                load.ask("prepare", number=number)
                return measured("issue", size=1)

            def renew() -> Run:
                load.ask("prepare_renewals", number=number, open_=True)
                return measured("renew", at_once=CONNECTIONS)

            def connect_and_renew() -> Run:
                load.ask("prepare_renewals", number=number, open_=False)
                return measured("connect_and_renew", at_once=CONNECTIONS)

            for warm in (issue, renew, connect_and_renew):
                warm()
            runs = [(renew(), issue(), connect_and_renew()) for _ in range(pairs)]
    name = f"renewals a second, {CONNECTIONS} at once, beside issue"
    yield from compared(name, [(mine, issued) for mine, issued, _ in runs])
    name = "the same, each over a new connection"
    yield from compared(name, [(mine, issued) for _, issued, mine in runs])
