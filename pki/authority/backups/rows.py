"""The rows of a ledger as lines of JSON, the same for every database that can hold a ledger.

A line is an array with the values of one row; the first line names the columns. Bytes are an object
with the one member ``base64``. Rows are in the order of their primary key, and tables in the order
in which one may refer to another, so that a row never comes before one that it refers to.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, MetaData, Table, delete, func, insert, select

from pki.authority.ledger import tables
from pki.authority.ledger.rows import in_parts
from pki.errors import InputError

_AT_ONCE = 1000
_OWN = frozenset({"alembic_version", "turns"})
"""What a database has for itself: the version of the tables, and a lock."""


def ledger_tables() -> tuple[Table, ...]:
    """Return all tables of a ledger of this version."""
    return tuple(tables.metadata.sorted_tables)


def count_rows(connection: Connection, table: Table) -> int:
    """Return how many rows a table has."""
    return int(connection.scalar(select(func.count()).select_from(table)) or 0)


def read_rows(connection: Connection, table: Table) -> Iterator[bytes]:
    """Yield the lines of a table."""
    yield _line([column.name for column in table.columns])
    query = select(table).order_by(*table.primary_key.columns)
    for row in in_parts(connection, query, _AT_ONCE):
        yield _line([_encoded(value) for value in row])


def write_rows(connection: Connection, lines_of: Iterable[tuple[str, Iterable[bytes]]]) -> None:
    """Replace the rows of a ledger whose tables have the version of the backup.

    Args:
        connection: of the ledger, in a transaction.
        lines_of: the name of each table, with its lines.

    Raises:
        InputError: if a line is malformed, or names a table or column that is not there.
    """
    present = MetaData()
    present.reflect(connection)
    given = dict(lines_of)
    known = [table for table in present.sorted_tables if table.name not in _OWN]
    if {table.name for table in known} != given.keys():
        raise InputError(
            "the backup does not hold the tables of its version", remedy="Use another backup"
        )
    for table in reversed(known):
        connection.execute(delete(table))
    for table in known:
        _write_table(connection, table, iter(given[table.name]))


def _write_table(connection: Connection, table: Table, lines: Iterator[bytes]) -> None:
    columns = _parsed(next(lines, b""), table)
    if sorted(map(str, columns)) != sorted(column.name for column in table.columns):
        raise _malformed(table)
    rows: list[dict[str, Any]] = []
    for line in lines:
        values = _parsed(line, table)
        if len(values) != len(columns):
            raise _malformed(table)
        rows.append(dict(zip(columns, (_decoded(value, table) for value in values), strict=True)))
        if len(rows) == _AT_ONCE:
            connection.execute(insert(table), rows)
            rows = []
    if rows:
        connection.execute(insert(table), rows)


def _line(values: list[object]) -> bytes:
    return json.dumps(values, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def _encoded(value: object) -> object:
    if isinstance(value, bytes | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    return value


def _parsed(line: bytes, table: Table) -> list[Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise _malformed(table) from None
    if not isinstance(values, list):
        raise _malformed(table)
    return values


def _decoded(value: object, table: Table) -> object:
    if not isinstance(value, dict):
        return value
    try:
        return base64.b64decode(value["base64"], validate=True)
    except (KeyError, TypeError, binascii.Error):
        raise _malformed(table) from None


def _malformed(table: Table) -> InputError:
    return InputError(
        f"the backup's rows of {table.name} have another form", remedy="Use another backup"
    )
