"""A service whose database can only be read still revokes, and records it later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.ledger.beside.mark import LedgerState
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.errors import LedgerError
from pki.x509 import CrlSet
from tests.ca_service import Served, served_ca
from tests.command import Capture, run_command
from tests.interop.shop import eventually
from tests.postgresql import PostgresqlServer

SECONDS = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with PostgresqlServer(fsync="off") as made:
        yield made


@pytest.fixture
def url(server: PostgresqlServer, tmp_path: Path) -> str:
    return server.make_database(f"ca_{tmp_path.name[-40:]}".replace("-", "_").lower())


@pytest.fixture
def served(tmp_path: Path, url: str) -> Iterator[Served]:
    place = PostgresqlDatabase.parse(url)
    Authority.create(tmp_path / "ca", "shop.internal", ledger=place).close()
    with served_ca(tmp_path) as ca:
        ca.authority.issue("ops").save(tmp_path / "ops")
        yield ca


@contextmanager
def read_only(server: PostgresqlServer, url: str) -> Iterator[None]:
    """Let a database take no writes, in sessions that are open too."""
    database = url.rpartition("/")[2]

    def end_sessions() -> None:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        )

    server.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    end_sessions()
    try:
        yield
    finally:
        server.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        end_sessions()


def published(served: Served) -> set[int]:
    crls = CrlSet.read((served.authority.path / "crl.pem").read_bytes())
    return {serial for item in crls.crls.values() for serial in item.revoked}


def told(served: Served) -> set[int]:
    """Return what followers are told to be revoked, on a list or beside it."""
    state = served.service.parts.feed.state
    return {int(item.serial, 16) for item in state.pending} | {
        serial for crl in state.crls.values() for serial in crl.revoked
    }


def test_a_revocation_is_published_by_the_service_and_recorded_later(
    served: Served, tmp_path: Path, url: str, server: PostgresqlServer, capsys: Capture
) -> None:
    serial = served.authority.issue("orders").leaf.serial_number
    options = ("--ca", served.address, "--credential", tmp_path / "ops")
    with read_only(server, url):
        code, out, err = run_command(capsys, "revoke", "orders", *options)
        assert (code, f"Revoked {serial:x}" in out) == (0, True), err
        assert serial in told(served)
        assert eventually(lambda: serial in published(served), SECONDS)
        code, out, err = run_command(capsys, "ca", "status", "--dir", tmp_path)
        assert (code, "NOT RECORDED YET: 1 certificate is revoked" in out) == (0, True), err
        assert "NO OTHER REPLICA KNOWS OF IT" in out
    assert eventually(served.authority.context.pending.is_empty, SECONDS)
    record = served.authority.certificate(serial)
    assert record is not None
    assert record.revoked_at is not None
    assert serial in told(served)
    assert run_command(capsys, "audit", "verify", "--dir", tmp_path)[0] == 0


def test_what_only_shows_works_as_before(
    served: Served, tmp_path: Path, url: str, server: PostgresqlServer, capsys: Capture
) -> None:
    serial = f"{served.authority.issue('orders').leaf.serial_number:x}"
    with read_only(server, url):
        for command in (
            ("ca", "status"),
            ("list",),
            ("list", "--forecast", "24h"),
            ("search", "orders"),
            ("export",),
            ("audit", "verify"),
            ("audit", "show"),
            ("audit", "prove", serial, "--out", str(tmp_path / "proof")),
        ):
            code, _, err = run_command(capsys, *command, "--dir", tmp_path)
            assert (command, code, err) == (command, 0, "")
        # What would change something says what hinders it.
        code, _, err = run_command(capsys, "issue", "payments", "--dir", tmp_path)
        assert (code, "read-only" in err) == (1, True)


def test_a_database_that_lacks_commits_decides_no_revocation(
    served: Served, tmp_path: Path, url: str, server: PostgresqlServer, capsys: Capture
) -> None:
    """As a standby that is behind: what it does not know could be what is meant."""
    serial = served.authority.issue("orders").leaf.serial_number
    mark = served.authority.context.ledger.mark
    options = ("--ca", served.address, "--credential", tmp_path / "ops")
    with read_only(server, url):
        state = mark.read()
        assert state is not None
        mark.write(LedgerState(state.ledger_id, state.sequence + 1))
        code, _, _ = run_command(capsys, "revoke", f"{serial:x}", *options)
        assert code == 1
        assert served.authority.context.pending.is_empty()
        mark.write(state, replace=True)


def test_a_service_writes_again_once_it_can(
    served: Served, tmp_path: Path, url: str, server: PostgresqlServer
) -> None:
    with read_only(server, url):
        served.authority.certificates()
    assert eventually(lambda: _issues(served), SECONDS)


def _issues(served: Served) -> bool:
    try:
        served.authority.issue("payments")
    except Exception:
        return False
    return True


def test_what_is_not_compared_with_the_mark_is_read_on_no_standby(
    served: Served, url: str, server: PostgresqlServer
) -> None:
    """A checkpoint of one that is behind would look like a log that went back."""
    ledger = served.authority.context.ledger
    with read_only(server, url):
        with ledger.snapshot(newest=True) as transaction:
            assert transaction.issuers()
        with pytest.raises(LedgerError), ledger.snapshot():
            pass
