"""Commits that changed something, and how many changes a connection has made."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event, select

from pki.authority.ledger import tables

_CHANGES = "handfast_changes"
_WRITING = ("INSERT", "UPDATE", "DELETE")


def holds_commit(connection: Connection, token: str) -> bool:
    """Return whether the commit with this token took place."""
    query = select(tables.commits.c.sequence).where(tables.commits.c.token == token)
    return connection.scalar(query) is not None


def count_changes(engine: Engine) -> None:
    """Let an engine's connections count the statements of theirs that changed something."""

    def count(connection: Connection, cursor: Any, statement: str, *_: object) -> None:
        # For many rows at once, a driver may not know how many it has written (-1).
        if cursor.rowcount != 0 and statement.lstrip()[:6].upper() in _WRITING:
            connection.info[_CHANGES] = connection.info.get(_CHANGES, 0) + 1

    event.listen(engine, "after_cursor_execute", count)


def changes(connection: Connection) -> int:
    """Return how many statements of this connection have changed something since it was opened."""
    number: int = connection.info.get(_CHANGES, 0)
    return number
