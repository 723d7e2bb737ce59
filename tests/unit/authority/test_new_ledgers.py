"""A ledger that the tests write, without alembic, is the one that the migrations make."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from pki.authority.directory import AuthorityDirectory
from tests.new_ledgers import dump
from tests.older_ledger import make_older

pytestmark = pytest.mark.sqlite

DRAWN = {"ledger_state": "ledger_id", "ca_secrets": "value"}


def rows(home: Path, table: str) -> list[dict[str, object]]:
    connection = sqlite3.connect(home / "ledger.db")
    connection.row_factory = sqlite3.Row
    answer = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
    connection.close()
    return answer


def statements(home: Path) -> list[str]:
    """Return what makes the tables and their rows, without the rows that hold drawn values.

    SQLAlchemy makes the indexes of a table in any order.
    """
    engine = create_engine(f"sqlite:///{home / 'ledger.db'}")
    with engine.connect() as connection:
        made = dump(connection)
    engine.dispose()
    return sorted(
        item
        for item in made
        if not any(item.startswith(f'INSERT INTO "{table}"') for table in DRAWN)
    )


def test_a_written_ledger_is_a_migrated_one_with_random_values_of_its_own(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in ("first", "second", "migrated")]
    for home in homes:
        home.mkdir(mode=0o700)
        AuthorityDirectory(home).home.create().close()
    # Revision by revision, so that nothing is written that an earlier ledger held.
    first, second, migrated = homes
    make_older(migrated, "0001")
    AuthorityDirectory(migrated).home.open().close()
    assert statements(first) == statements(second) == statements(migrated)
    for table, drawn in DRAWN.items():
        found = [rows(home, table) for home in homes]
        assert len({str(item[0][drawn]) for item in found}) == 3
        assert [{**item[0], drawn: None} for item in found] == [
            {**found[2][0], drawn: None} for _ in homes
        ]
        assert [len(item) for item in found] == [1, 1, 1]
