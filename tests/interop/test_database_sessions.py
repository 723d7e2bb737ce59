"""The sessions of a ledger in PostgreSQL: nothing counts on one that another transaction had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from pki.authority import Authority
from pki.authority.ledger.databases.access import READING, WRITING
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from tests.postgresql import PostgresqlServer

SETTINGS = ("synchronous_commit", "idle_in_transaction_session_timeout", "lock_timeout")
# As where a pooler has thrown away what was set for a session.
SET = "ALTER DATABASE {} SET synchronous_commit = off"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with PostgresqlServer(fsync="off") as made:
        yield made


@pytest.fixture
def ledger(server: PostgresqlServer, tmp_path: Path) -> Iterator[Authority]:
    name = f"ca_{tmp_path.name[-40:]}".replace("-", "_").lower()
    place = PostgresqlDatabase.parse(server.make_database(name))
    server.execute(SET.format(name))
    with Authority.create(tmp_path / "ca", "shop.internal", ledger=place) as made:
        yield made


def test_each_transaction_sets_what_it_needs(ledger: Authority) -> None:
    with ledger.context.ledger.transaction() as transaction:
        shown = [
            transaction.connection.exec_driver_sql(f"SHOW {name}").scalar() for name in SETTINGS
        ]
    assert shown[:2] == ["on", "20s"]
    assert shown[2] != "0"


def test_no_statement_is_prepared_for_the_next_transaction(ledger: Authority) -> None:
    for number in range(12):
        ledger.issue(f"orders-{number}")
    with ledger.context.ledger.snapshot() as transaction:
        query = "SELECT count(*) FROM pg_prepared_statements"
        assert transaction.connection.exec_driver_sql(query).scalar() == 0


def test_a_server_that_only_reads_by_now_is_left(ledger: Authority) -> None:
    engine = next(ledger.context.ledger.place.engines(WRITING))
    who = "SELECT pg_backend_pid()"
    with engine.connect() as connection:
        before = connection.exec_driver_sql(who).scalar()
    with engine.connect() as connection:
        assert connection.exec_driver_sql(who).scalar() == before, "the pool keeps a session"
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        with pytest.raises(DBAPIError, match="read-only"):
            connection.exec_driver_sql("CREATE TABLE something (id int)")
    with engine.connect() as connection:
        assert connection.exec_driver_sql(who).scalar() != before
    with engine.connect().execution_options(**{READING: True}) as connection:
        assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"
    engine.dispose()
