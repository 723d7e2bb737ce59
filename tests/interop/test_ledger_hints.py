"""Replicas tell each other by NOTIFY that followers have something to hear: a hint, and no more."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.ledger import Ledger, Transaction
from pki.authority.ledger.databases import postgresql_hints
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.authority.ledger.databases.postgresql_hints import CHANNEL
from pki.daemon import service
from pki.daemon.trust_feed import TrustFeed
from tests.ca_service import served_ca
from tests.interop.shop import eventually
from tests.postgresql import PostgresqlServer, connected

SECONDS = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with PostgresqlServer(fsync="off") as made:
        yield made


@pytest.fixture
def url(server: PostgresqlServer, tmp_path: Path) -> str:
    return server.make_database(f"ca_{tmp_path.name[-40:]}".replace("-", "_").lower())


@pytest.fixture
def ca(tmp_path: Path, url: str) -> Iterator[Authority]:
    place = PostgresqlDatabase.parse(url)
    with Authority.create(tmp_path / "ca", "shop.internal", ledger=place) as made:
        yield made


class Heard:
    """Waits for hints."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.count = 0

    def __call__(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def after(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.count > count, SECONDS)


@contextmanager
def listening(ledger: Ledger) -> Iterator[Heard]:
    """Listen; the first call comes as soon as it does."""
    heard = Heard()
    stop = ledger.hints.listen(heard)
    try:
        assert heard.after(0)
        yield heard
    finally:
        stop()


def told(feed: TrustFeed) -> set[int]:
    """Return what followers are told to be revoked, on a list or beside it."""
    listed = {serial for crl in feed.state.crls.values() for serial in crl.revoked}
    return listed | {item.serial for item, _ in feed.state.unlisted}


def test_another_process_hears_of_a_revocation(ca: Authority) -> None:
    serial = ca.issue("orders").leaf.serial_number
    with Authority.open(ca.path) as other, listening(other.context.ledger) as heard:
        before = heard.count
        ca.revoke(serial)
        assert heard.after(before)


def test_a_process_does_not_hear_of_its_own(ca: Authority, url: str) -> None:
    serial = ca.issue("orders").leaf.serial_number
    with listening(ca.context.ledger) as heard, connected(url) as another:
        another.autocommit = True
        another.execute(f"LISTEN {CHANNEL}")
        ca.revoke(serial)
        assert next(another.notifies(timeout=SECONDS, stop_after=1)).channel == CHANNEL
        # What comes after its own is heard, so that has been passed over by then.
        assert heard.count == 1
        another.execute(f"NOTIFY {CHANNEL}")
        assert heard.after(1)
        assert heard.count == 2


def test_only_what_followers_are_told_is_worth_a_hint(ca: Authority) -> None:
    worth: list[tuple[str, bool]] = []
    ledger = ca.context.ledger

    def note(name: str, work: Callable[[Transaction], object]) -> None:
        with ledger.transaction() as transaction:
            work(transaction)
            worth.append((name, transaction.changes_trust))

    issued = ca.issue("orders")
    record = ca.certificate(issued.leaf.serial_number)
    assert record is not None
    note("event", lambda it: it.add_event("x", "of a test", at=ca.now()))
    note("nothing", lambda it: it.state())
    note("revoked", lambda it: it.mark_revoked([record.id], at=ca.now(), reason="superseded"))
    note("again", lambda it: it.mark_revoked([record.id], at=ca.now(), reason="superseded"))
    note("list", lambda it: ca.context.refresh_crl(it.issuers()[1], it))
    note("status", lambda it: it.set_status(it.issuers()[1].id, it.issuers()[1].status))
    assert worth == [
        ("event", False),
        ("nothing", False),
        ("revoked", True),
        ("again", False),
        ("list", True),
        ("status", True),
    ]


def test_a_hint_follows_its_commit_in_a_transaction_that_waits_for_no_disk(
    ca: Authority, server: PostgresqlServer, url: str
) -> None:
    """A lock on the whole server, held until a standby has answered, would be the alternative."""
    serial = ca.issue("orders").leaf.serial_number
    server.execute("ALTER SYSTEM SET log_statement = 'all'")
    server.execute("SELECT pg_reload_conf()")
    try:
        assert eventually(lambda: server.execute("SHOW log_statement") == [("all",)])
        with Authority.open(ca.path) as other:
            other.revoke(serial)
    finally:
        server.execute("ALTER SYSTEM RESET log_statement")
        server.execute("SELECT pg_reload_conf()")
    lines = (server.folder / "server.log").read_text().splitlines()
    [hint] = [line for line in lines if f"NOTIFY {CHANNEL}" in line][-1:]
    assert "SET LOCAL synchronous_commit = off;" in hint
    session = hint[hint.index("[") : hint.index("]") + 1]
    before = [line for line in lines[: lines.index(hint)] if session in line]
    # The first of its transaction, after whose commit it is sent.
    assert "BEGIN" in before[-1]


def test_a_listener_that_was_cut_off_comes_back(
    ca: Authority, server: PostgresqlServer, url: str
) -> None:
    serials = [ca.issue("orders").leaf.serial_number for _ in range(2)]
    with Authority.open(ca.path) as other, listening(other.context.ledger) as heard:
        database = url.rpartition("/")[2]
        before = heard.count
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        )
        # It looks once as soon as it listens again.
        assert heard.after(before)
        before = heard.count
        ca.revoke(serials[0])
        assert heard.after(before)


def test_without_a_server_nothing_waits_for_a_hint(tmp_path: Path) -> None:
    with PostgresqlServer(fsync="off") as own:
        place = PostgresqlDatabase.parse(own.make_database("ca"))
        with Authority.create(tmp_path / "ca", "shop.internal", ledger=place) as ca:
            with listening(ca.context.ledger) as heard:
                own.stop(signal.SIGQUIT)
                for _ in range(1000):
                    ca.context.ledger.hints.send()
                own.start()
                assert heard.after(1)


def test_a_service_looks_at_once_when_it_is_told(
    ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would look again in an hour.
    monkeypatch.setattr(service, "_LEDGER_SECONDS", 3600.0)
    leaf = ca.issue("orders").leaf
    with served_ca(tmp_path) as served:
        feed = served.service.parts.feed
        ca.revoke(leaf.serial_number)
        assert eventually(lambda: leaf.serial_number in told(feed))


def test_a_service_that_can_listen_to_nothing_looks_by_itself(
    ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_hints, "CHANNEL", "no channel")
    leaf = ca.issue("orders").leaf
    with served_ca(tmp_path) as served:
        ca.revoke(leaf.serial_number)
        feed = served.service.parts.feed
        assert eventually(lambda: leaf.serial_number in told(feed))
