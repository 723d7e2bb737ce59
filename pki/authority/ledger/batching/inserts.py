"""Write many rows of a table with one statement that was compiled once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Table, insert
from sqlalchemy.engine import Compiled

from pki.authority.ledger.batching.connection import Values

_COUNTED = {"preserve_rowcount": True}


class Prepared:
    """A statement for many rows, which the library compiles for a database once and not each time.

    Args:
        statement: an INSERT that takes one parameter for each of the columns.
        columns: the names of its parameters, in the order in which rows have them.
    """

    def __init__(self, statement: Insert, columns: Sequence[str]) -> None:
        self._statement = statement
        self._columns = tuple(columns)
        self._compiled: dict[str, tuple[str, Sequence[int] | None]] = {}

    def execute(self, connection: Connection, rows: Sequence[Values]) -> int:
        """Execute it for each row; return how many rows it has changed in all."""
        text, order = self._for(connection.dialect)
        parameters: Any
        if order is None:
            parameters = [dict(zip(self._columns, row, strict=True)) for row in rows]
        else:
            parameters = [tuple([row[place] for place in order]) for row in rows]
        done = connection.exec_driver_sql(text, parameters, execution_options=_COUNTED)
        return done.rowcount

    def _for(self, dialect: Dialect) -> tuple[str, Sequence[int] | None]:
        found = self._compiled.get(dialect.name)
        if found is None:
            # Inline, because nobody asks for the ids of the new rows.
            compiled: Compiled = self._statement.inline().compile(
                dialect=dialect, column_keys=self._columns
            )
            places: Sequence[str] | None = getattr(compiled, "positiontup", None)
            order = None if places is None else [self._columns.index(item) for item in places]
            found = self._compiled[dialect.name] = (str(compiled), order)
        return found


class Inserts:
    """Inserts rows into a table.

    Args:
        table: the table.
        columns: the names of the columns that a row has, in its order.
        rank: of the table among those whose rows wait.
    """

    def __init__(self, table: Table, columns: Sequence[str], *, rank: int) -> None:
        self.table, self.rank = table, rank
        self._insert = Prepared(insert(table), columns)

    def write(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Write rows."""
        self._insert.execute(connection, rows)
