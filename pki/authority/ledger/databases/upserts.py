"""Insert rows, or update those that are there, in each database's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.dml import Insert

_New = ReadOnlyColumnCollection[str, Any]


def upsert(
    table: Table,
    *,
    index: Sequence[str],
    values: Callable[[_New], Mapping[str, ColumnElement[Any]]],
    where: Callable[[_New], ColumnElement[bool]],
) -> dict[str, Insert]:
    """Return the statement for each database, by the name of its dialect.

    For many rows, too, the result says how many were written.

    Args:
        table: the table.
        index: the columns of the unique index by which a row is there already.
        values: takes the columns of the new row, and returns those to set in the old one.
        where: takes the same, and says whether the old row may be changed.
    """
    statements: dict[str, Insert] = {}
    for dialect in (sqlite, postgresql):
        statement = dialect.insert(table)
        new = statement.excluded
        statements[dialect.dialect.name] = statement.on_conflict_do_update(
            index_elements=index, set_=values(new), where=where(new)
        ).execution_options(preserve_rowcount=True)
    return statements
