"""The connection of one transaction: rows that are added wait, and are written together.

1. A row that is added waits until anything else is read or changed, or until the commit. So whoever
   reads sees all rows that were added before, and a commit writes each table's rows at once.
2. A step may be undone alone. If nothing of it has reached the database, its rows are only
   forgotten; the savepoint is set when the first of it has to be written.
3. What was read ahead is forgotten when anything is changed in another way than by adding rows, or
   when rows are undone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    Connection,
    CursorResult,
    Executable,
    NestedTransaction,
    ScalarResult,
    Table,
    UpdateBase,
)

_Result = TypeVar("_Result")
_Parameters = Mapping[str, object] | Sequence[Mapping[str, object]] | None
Values = tuple[object, ...]


class RowWriter(Protocol):
    """Writes the rows of one table."""

    @property
    def table(self) -> Table:
        """The table."""

    @property
    def rank(self) -> int:
        """Rows of a lower rank are written first: others refer to them."""

    def write(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Write rows, in the order in which they were added."""


@dataclass(slots=True)
class _Step:
    """A step that may be undone alone.

    Args:
        mark: how many rows were waiting when it began, and still are.
        savepoint: None as long as nothing of it was written.
    """

    mark: int
    savepoint: NestedTransaction | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    """A row that did not fit, and was added before the step within which it was written.

    Args:
        error: what the database has said.
        within: the step that it was added by, whose undoing undoes it; None if that has ended.
    """

    error: Exception
    within: _Step | None


class LedgerConnection:
    """A connection to the ledger within one transaction.

    Args:
        connection: whose transaction has begun.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[RowWriter, Values]] = []
        self._steps: list[_Step] = []
        self._failure: _Failure | None = None
        self._forget: list[Callable[[], object]] = []
        self.has_changed = False
        """Whether anything was written."""
        self.changed_tables: set[object] = set()
        """The tables that statements have changed; without those of rows that waited."""

    @property
    def has_waiting(self) -> bool:
        """Whether rows were added that are not written yet."""
        return bool(self._waiting)

    def forget_by(self, forget: Callable[[], object]) -> None:
        """Have a function called whenever what was read may be out of date."""
        self._forget.append(forget)

    def add(self, writer: RowWriter, row: Values) -> None:
        """Add a row. What does not fit fails when it is written, with all that is written then."""
        self._waiting.append((writer, row))

    def execute(self, statement: Executable, parameters: _Parameters = None) -> CursorResult[Any]:
        """Execute a statement, after all rows that wait were written."""
        changes = not statement.is_select
        self._write(changes=changes)
        result = self._connection.execute(statement, parameters)
        if changes:
            self._forget_all()
            if result.rowcount != 0:
                self.has_changed = True
                if isinstance(statement, UpdateBase):
                    self.changed_tables.add(statement.table)
        return result

    def read(
        self, statement: Executable, parameters: _Parameters = None, *, of: Table
    ) -> CursorResult[Any]:
        """Execute a statement that reads one table, in which nothing that waits is missed."""
        if self._failure is not None or any(writer.table is of for writer, _ in self._waiting):
            self._write()
        return self._connection.execute(statement, parameters)

    def scalar(self, statement: Executable, parameters: _Parameters = None) -> Any:
        """Return the first value of what a statement finds; None if it finds nothing."""
        return self.execute(statement, parameters).scalar()

    def scalars(self, statement: Executable, parameters: _Parameters = None) -> ScalarResult[Any]:
        """Return the first value of each row that a statement finds."""
        return self.execute(statement, parameters).scalars()

    def begin_nested(self) -> NestedTransaction:
        """Set a savepoint, after all rows that wait were written."""
        self._write(changes=True)
        return self._connection.begin_nested()

    def plain(self) -> Connection:
        """Return the connection for reading, after all rows that wait were written."""
        self._write()
        return self._connection

    def flush(self) -> None:
        """Write all rows that wait.

        Raises:
            SQLAlchemyError: if one of them does not fit; then the transaction must not be
                committed.
            ConflictError: if another transaction has meanwhile recorded something else.
        """
        self._write()

    def alone(self, step: Callable[[], _Result], undone: Callable[[], object]) -> _Result:
        """Take a step that is undone by itself if it raises.

        Args:
            step: what is to be done.
            undone: called after something of the step was undone.
        """
        begun = _Step(len(self._waiting))
        self._steps.append(begun)
        try:
            result = step()
        except BaseException:
            self._steps.pop()
            if self._undo(begun):
                undone()
            raise
        self._steps.pop()
        if begun.savepoint is not None:
            begun.savepoint.commit()
        return result

    def _undo(self, step: _Step) -> bool:
        """Undo a step; return whether there was anything to undo."""
        has_added = len(self._waiting) > step.mark
        del self._waiting[step.mark :]
        if step.savepoint is not None:
            step.savepoint.rollback()
        if self._failure is not None and self._failure.within is step:
            self._failure = None
        if step.savepoint is None and not has_added:
            return False
        self._forget_all()
        return True

    def _forget_all(self) -> None:
        for forget in self._forget:
            forget()

    def _write(self, *, changes: bool = False) -> None:
        """Write the rows that wait, those of each step behind its own savepoint.

        Args:
            changes: whether something is about to be changed, so that savepoints are needed though
                no row waits.
        """
        if self._failure is not None:
            raise self._failure.error
        if not self._waiting and not changes:
            return
        rows, self._waiting = self._waiting, []
        begin, within = 0, None
        for step in self._steps:
            if step.savepoint is None:
                try:
                    self._insert(rows[begin : step.mark])
                except Exception as error:
                    # Those who added them have been told that all is well.
                    self._failure = _Failure(error, within)
                    raise
                begin = step.mark
                step.savepoint = self._connection.begin_nested()
            step.mark, within = 0, step
        self._insert(rows[begin:])

    def _insert(self, rows: Sequence[tuple[RowWriter, Values]]) -> None:
        tables: dict[RowWriter, list[Values]] = {}
        for writer, row in rows:
            tables.setdefault(writer, []).append(row)
        for writer in sorted(tables, key=lambda item: item.rank):
            writer.write(self._connection, tables[writer])
            self.has_changed = True
