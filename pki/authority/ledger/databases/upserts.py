"""Insert a row, or update the one that is there: each database has its own words for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERTS: dict[str, Callable[[Table], Any]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def insert_or_update(dialect: str, table: Table) -> Any:
    """Return an INSERT with ``on_conflict_do_update``, which both databases know alike.

    Args:
        dialect: the name of the database's dialect.
        table: the table.
    """
    return _INSERTS[dialect](table)
