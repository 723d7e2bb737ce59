"""The files of CA keys in a ledger that replicas on several machines share."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection


class KeyFileRecords:
    """The part of a transaction that reads and writes the files of keys."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection

    def put(self, name: str, contents: bytes) -> None:
        """Keep a file under its name, in place of what was there."""
        self.remove(name)
        self._connection.execute(insert(tables.key_files).values(name=name, contents=contents))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        table = tables.key_files
        self._connection.execute(delete(table).where(table.c.name == name))

    def all(self) -> dict[str, bytes]:
        """Return the contents of each file by its name."""
        table = tables.key_files
        rows = self._connection.execute(select(table).order_by(table.c.name))
        return {row.name: row.contents for row in rows}
