"""Replicas of a CA on one database, under load: killed, stopped, and their database gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.authority.replicas.joining import join_authority
from tests.bench.ca.signing_requests import make_ders
from tests.fault.loaded_ca import Held, check_held, load, make_ca, served
from tests.postgresql import PostgresqlServer
from tests.served_process import Running

PASSPHRASE = "a passphrase of the CA"
ENVIRONMENT = {"HANDFAST_CA_PASSPHRASE": PASSPHRASE}
CLIENTS = 3


@dataclass
class Fleet:
    """Two replicas, and what the clients of each hold."""

    homes: list[Path]
    server: PostgresqlServer
    held: list[Held] = field(default_factory=lambda: [Held(), Held()])

    @contextmanager
    def loaded(self, number: int, ders: list[bytes]) -> Iterator[Running]:
        """Serve a replica, and load it until the end of the block, or until a call fails."""
        home, held = self.homes[number], self.held[number]
        held.failed.clear()
        with (
            served(home, ENVIRONMENT) as (process, address),
            load(self.homes[0], address, CLIENTS, held, ders),
        ):
            yield process

    def check(self) -> None:
        """Hold what all clients have against the ledger, by each replica."""
        for home in self.homes:
            for held in self.held:
                check_held(home, held, passphrase=PASSPHRASE.encode())

    def more(self, number: int, certificates: int = 20) -> None:
        """Wait until the clients of a replica hold so many more."""
        held = self.held[number]
        held.wait_for(len(held.leaves) + certificates)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with PostgresqlServer() as server:
        place = PostgresqlDatabase.parse(server.make_database("ca"))
        homes = [tmp_path / name for name in ("one", "two")]
        for home in homes:
            home.mkdir()
        make_ca(homes[0], CLIENTS, ledger=place, passphrase=PASSPHRASE.encode())
        join_authority(homes[1] / "ca", place, passphrase=PASSPHRASE.encode()).close()
        policy = (homes[0] / "ca-policy.toml").read_text()
        (homes[1] / "ca-policy.toml").write_text(policy)
        yield Fleet(homes, server)


@pytest.mark.timeout(300)
def test_when_a_replica_is_killed_the_other_goes_on_and_nothing_is_lost(fleet: Fleet) -> None:
    ders = make_ders(2000)
    with ExitStack() as stack:
        stack.enter_context(fleet.loaded(0, ders))
        for _ in range(2):
            with fleet.loaded(1, ders) as second:
                fleet.more(1)
                second.process.kill()
                # At once: what it held is given back by the database.
                fleet.more(0)
            fleet.held[1].failed.clear()
    assert not fleet.held[0].failed
    fleet.check()


@pytest.mark.timeout(300)
def test_a_replica_that_stands_still_holds_nobody_up_for_good(fleet: Fleet) -> None:
    ders = make_ders(2000)
    with fleet.loaded(0, ders), fleet.loaded(1, ders) as second:
        fleet.more(1)
        second.process.send_signal(signal.SIGSTOP)
        try:
            fleet.more(0, 40)
        finally:
            second.process.send_signal(signal.SIGCONT)
        fleet.more(0)
    assert not fleet.held[0].failed
    fleet.check()


@pytest.mark.timeout(300)
def test_a_database_that_is_gone_for_ten_seconds_costs_no_certificate_that_is_out(
    fleet: Fleet,
) -> None:
    ders = make_ders(2000)
    with ExitStack() as stack:
        served_by = [stack.enter_context(served(home, ENVIRONMENT)) for home in fleet.homes]

        def loaded() -> ExitStack:
            with ExitStack() as loading:
                for held, (_, address) in zip(fleet.held, served_by, strict=True):
                    held.failed.clear()
                    loading.enter_context(load(fleet.homes[0], address, CLIENTS, held, ders))
                return loading.pop_all()

        with loaded():
            for number in range(len(fleet.homes)):
                fleet.more(number)
            fleet.server.stop(signal.SIGQUIT)
            time.sleep(10)
            fleet.server.start()
        assert all(process.process.poll() is None for process, _ in served_by)
        # The same processes, whose connections are all gone.
        with loaded():
            for number in range(len(fleet.homes)):
                fleet.more(number)
    fleet.check()
