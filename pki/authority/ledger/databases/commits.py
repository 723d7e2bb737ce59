"""Whether a commit took place."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from pki.authority.ledger import tables
from pki.errors import StateError


def holds_commit(connection: Connection, token: str, sequence: int) -> bool:
    """Return whether the commit with this token took place.

    Args:
        connection: of the ledger.
        token: the commit's.
        sequence: the number that it was to have.

    Raises:
        StateError: if so many have followed that the ledger has forgotten it, if it took place.
    """
    commits = tables.commits.c
    if connection.scalar(select(commits.sequence).where(commits.token == token)) is not None:
        return True
    oldest = connection.scalar(select(func.min(commits.sequence)))
    if oldest is not None and oldest > sequence:
        raise StateError(f"of its commits, those before number {oldest} are forgotten")
    return False
