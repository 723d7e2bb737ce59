"""Replicas behind one name: each has its share of the callers again after it came back.

The times are a hundredth of those in use, in which all of it takes less than five minutes.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cryptography
import pytest

import pki.daemon.handlers.trust
import pki.daemon.workload
from pki.authority import Authority
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.authority.replicas.joining import join_authority
from pki.ca_client import CaIdentity
from pki.proofs import EnrollmentToken
from tests.ca_service import Served, served_ca
from tests.interop.shop import eventually, free_port
from tests.postgresql import PostgresqlServer

pytestmark = pytest.mark.skipif(
    cryptography.__version__ < "47", reason="an encrypted key needs cryptography 47"
)
PASSPHRASE = b"a passphrase of the CA"
NAME = "ca.shop.internal"
HOSTS = ("127.0.0.1", "127.0.0.2")
WORKLOADS, LEAST_SHARE = 12, 3
SECONDS = 30.0


@dataclass
class Replicas:
    """Two replicas that workloads know by one name."""

    folders: list[Path]
    ports: tuple[int, int]

    def served(self, number: int) -> AbstractContextManager[Served]:
        """Serve one of them."""
        return served_ca(
            self.folders[number],
            ports=self.ports,
            host=HOSTS[number],
            advertised=NAME,
            passphrase=PASSPHRASE,
        )


@pytest.fixture
def replicas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replicas]:
    """The replicas, whose name has an address for each.

    Only the resolver is stood in for: no name has two addresses on every machine.
    """
    resolve = socket.getaddrinfo

    def resolve_name(host: str, port: int, *rest: Any, **named: Any) -> Any:
        hosts = HOSTS if host == NAME else (host,)
        return [found for item in hosts for found in resolve(item, port, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_name)
    with PostgresqlServer(fsync="off") as server:
        place = PostgresqlDatabase.parse(server.make_database("ca"))
        folders = [tmp_path / name for name in ("one", "two")]
        Authority.create(
            folders[0] / "ca", "shop.internal", ledger=place, passphrase=PASSPHRASE
        ).close()
        join_authority(folders[1] / "ca", place, passphrase=PASSPHRASE).close()
        yield Replicas(folders, (free_port(), free_port()))


def followers(*served: Served) -> list[int]:
    return [item.service.parts.counters.followers for item in served]


@pytest.mark.timeout(240)
def test_a_replica_that_comes_back_has_its_share_of_the_callers_again(
    replicas: Replicas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pki.daemon.workload, "_CHOSEN_MILLISECONDS", 600)
    monkeypatch.setattr(pki.daemon.workload, "_STREAM_MILLISECONDS", 2400)
    monkeypatch.setattr(pki.daemon.handlers.trust, "STREAM_SECONDS", 2.4)
    with ExitStack() as stack:
        first = stack.enter_context(replicas.served(0))
        second_run = stack.enter_context(ExitStack())
        second = second_run.enter_context(replicas.served(1))
        identities = []
        for number in range(WORKLOADS):
            token = EnrollmentToken.parse(first.token(f"load/{number}"))
            identity = CaIdentity(tmp_path / f"load-{number}", token=token)
            identities.append(stack.enter_context(identity))
        assert eventually(lambda: sum(followers(first, second)) == WORKLOADS, SECONDS)
        second_run.close()
        assert eventually(lambda: followers(first) == [WORKLOADS], SECONDS)
        second = stack.enter_context(replicas.served(1))
        assert eventually(lambda: min(followers(first, second)) >= LEAST_SHARE, SECONDS)
        for identity in identities:
            identity.renew_now()
            assert not identity.problem
