"""Rows of a table by the value of one column, which may be read ahead for many values at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Row, Select, Table, bindparam, select

from pki.authority.ledger.batching.connection import LedgerConnection

_Rows = tuple[Row[Any], ...]


class LookupQuery:
    """What a :class:`Lookup` asks. Made once: the library compiles it once, too.

    Args:
        table: the table.
        column: the name of the column.
        order_by: the order of the rows of one value.
    """

    def __init__(
        self, table: Table, column: str, order_by: ColumnElement[Any] | None = None
    ) -> None:
        self.table, self.column = table, column
        query = select(table) if order_by is None else select(table).order_by(order_by)
        self.one = query.where(table.c[column] == bindparam("value"))
        self.many = query.where(table.c[column].in_(bindparam("values", expanding=True)))


class Lookup:
    """The rows that a transaction has read by the value of a column.

    Args:
        connection: of the transaction.
        query: what to read.
    """

    def __init__(self, connection: LedgerConnection, query: LookupQuery) -> None:
        self._connection = connection
        self._query = query
        self._ahead: dict[object, _Rows] = {}
        connection.forget_by(self._ahead.clear)

    def of(self, value: object) -> Sequence[Row[Any]]:
        """Return the rows with a value."""
        rows = self._ahead.get(value)
        if rows is None:
            rows = tuple(self._read(self._query.one, {"value": value}))
        return rows

    def read_ahead(self, values: Iterable[object]) -> None:
        """Read the rows with each of these values, with one statement."""
        missing = list({item: None for item in values if item not in self._ahead})
        if not missing:
            return
        found: dict[object, list[Row[Any]]] = {item: [] for item in missing}
        for row in self._read(self._query.many, {"values": missing}):
            found[row._mapping[self._query.column]].append(row)
        self._ahead.update({item: tuple(rows) for item, rows in found.items()})

    def _read(self, query: Select[Any], parameters: dict[str, object]) -> CursorResult[Any]:
        return self._connection.read(query, parameters, of=self._query.table)

    def keep(self, value: object, row: Row[Any]) -> None:
        """Keep the one row with a value, which was read in another way."""
        self._ahead[value] = (row,)

    def forget(self, value: object) -> None:
        """Forget what was read for a value, because a row of it was added."""
        self._ahead.pop(value, None)
