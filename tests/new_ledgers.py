"""Makes a new ledger's tables as the migrations made those of the first one in this process.

The migrations take longer than all the rest of a new CA, and thousands of tests make one. What
the first new ledger holds after them is written to the next ones, with random values of their own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

Upgrade = Callable[..., None]


@contextmanager
def migrated_once() -> Iterator[None]:
    """Let alembic migrate the first new ledger, and every ledger that holds something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "upgrade", _remembering(command.upgrade))
        yield


def _remembering(upgrade: Upgrade) -> Upgrade:
    made: tuple[str, ...] = ()

    def upgrade_or_write(config: Config, revision: str, *arguments: Any, **options: Any) -> None:
        nonlocal made
        connection: Connection = config.attributes["connection"]
        if not _is_new(connection) or revision != "head":
            upgrade(config, revision, *arguments, **options)
        elif not made:
            upgrade(config, revision, *arguments, **options)
            made = tuple(dump(connection))
        else:
            for statement in made:
                connection.exec_driver_sql(statement)
            _draw_anew(connection)

    return upgrade_or_write


def _is_new(connection: Connection) -> bool:
    """Return whether a ledger is in a new file, and not in a database."""
    if connection.dialect.name != "sqlite":
        return False
    return connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar() == 0


def dump(connection: Connection) -> list[str]:
    """Return the statements that make a ledger's tables, triggers and rows."""
    driver: Any = connection.connection.dbapi_connection
    return [item for item in driver.iterdump() if item not in {"BEGIN TRANSACTION;", "COMMIT;"}]


def _draw_anew(connection: Connection) -> None:
    connection.exec_driver_sql("UPDATE ledger_state SET ledger_id = ?", (secrets.token_hex(16),))
    connection.exec_driver_sql("UPDATE ca_secrets SET value = ?", (secrets.token_bytes(32),))
