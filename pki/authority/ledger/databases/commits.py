"""Whether a commit took place."""

from __future__ import annotations

from sqlalchemy import Connection, select

from pki.authority.ledger import tables


def holds_commit(connection: Connection, token: str) -> bool:
    """Return whether the commit with this token took place."""
    query = select(tables.commits.c.sequence).where(tables.commits.c.token == token)
    return connection.scalar(query) is not None
