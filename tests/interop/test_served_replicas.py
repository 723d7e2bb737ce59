"""Workloads that live from two replicas of a CA, and find the other when one is gone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cryptography
import pytest

import pki
from pki.authority import Authority
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.authority.replicas.joining import join_authority
from tests.interop.fleet import serving
from tests.interop.shop import POLICY, SECONDS, ended, eventually, free_port, get_stock, watch
from tests.postgresql import PostgresqlServer
from tests.served_process import Running, handfast, running

pytestmark = pytest.mark.skipif(
    cryptography.__version__ < "47", reason="an encrypted key needs cryptography 47"
)
PASSPHRASE = "a passphrase of the CA"
ENVIRONMENT = {"HANDFAST_CA_PASSPHRASE": PASSPHRASE}


@dataclass
class Replicas:
    """Two replicas that workloads know by one name, as of two addresses in DNS."""

    homes: list[Path]
    ports: list[int]
    enroll_ports: list[int]

    @contextmanager
    def served(self, number: int) -> Iterator[Running]:
        """Serve one of them."""
        home = self.homes[number]
        names = [
            f"ipv4:{','.join(f'127.0.0.1:{port}' for port in ports)}"
            for ports in (self.ports, self.enroll_ports)
        ]
        with running(
            home,
            *("ca", "serve", "--heartbeat=1s"),
            f"--listen=127.0.0.1:{self.ports[number]}",
            f"--enroll-listen=127.0.0.1:{self.enroll_ports[number]}",
            f"--advertise={names[0]}",
            f"--enroll-advertise={names[1]}",
            name=f"ca-{number}",
            environment=ENVIRONMENT,
        ) as process:
            process.line("Serving the CA")
            yield process


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Replicas]:
    with PostgresqlServer(fsync="off") as server:
        place = PostgresqlDatabase.parse(server.make_database("ca"))
        homes = [tmp_path / name for name in ("one", "two")]
        passphrase = PASSPHRASE.encode()
        Authority.create(
            homes[0] / "ca", "shop.internal", ledger=place, passphrase=passphrase
        ).close()
        join_authority(homes[1] / "ca", place, passphrase=passphrase).close()
        ports = [free_port() for _ in range(4)]
        yield Replicas(homes, ports[:2], ports[2:])


@pytest.mark.timeout(240)
def test_workloads_enroll_and_hear_of_revocations_whichever_replica_lives(
    replicas: Replicas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    def command(number: int, *arguments: str) -> str:
        done = handfast(replicas.homes[number], *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    with ExitStack() as stack:
        first = stack.enter_context(replicas.served(0))
        stack.enter_context(replicas.served(1))
        workloads = []
        for name in ("server", "caller"):
            command(0, "registration", "create", name)
            # A token of the one is good at the other.
            token = command(1, "token", "create", name)
            made = pki.Workload.from_ca(tmp_path / name, token=token, policy=policy)
            workloads.append(stack.enter_context(made))
        server, caller = workloads
        address = stack.enter_context(serving(server))
        channel = stack.enter_context(caller.sync_channel(address, peer="server"))
        assert get_stock(channel) > 0

        first.process.send_signal(signal.SIGKILL)
        first.process.wait(SECONDS)
        # Who followed the dead one follows the other by now.
        assert eventually(lambda: not server.problems and not caller.problems, SECONDS)
        stream = watch(channel)
        serial = f"{caller.credential.leaf.serial_number:x}"
        command(0, "revoke", serial, "--reason", "key-compromise")
        assert ended(stream) == "CANCELLED"
