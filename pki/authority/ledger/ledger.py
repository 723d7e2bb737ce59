"""The ledger: what the CA has decided, in a database. Every commit is durable.

Nobody else changes what a transaction reads before it commits. A ledger that can't be written now
is opened for reading alone: then its transactions see it as it was committed last, and change
nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pki.authority.ledger.audit import AuditHead
from pki.authority.ledger.batching.needs import NOTHING, Needs
from pki.authority.ledger.beside.mark import LedgerMark, LedgerState
from pki.authority.ledger.commits.comparing import compare
from pki.authority.ledger.commits.process_turns import process_turn
from pki.authority.ledger.commits.sharing import Step, failure_of, is_conflict, take_steps
from pki.authority.ledger.commits.telling import Telling
from pki.authority.ledger.commits.turns import Outcome, Shared, Turns
from pki.authority.ledger.commits.urgency import Urgency
from pki.authority.ledger.databases.access import BUSY, READING, WRITING, LedgerAccess
from pki.authority.ledger.databases.place import LedgerPlace, cause_of
from pki.authority.ledger.databases.reading import ReadingConnections
from pki.authority.ledger.databases.schema import migrate_place
from pki.authority.ledger.transaction import Transaction
from pki.errors import (
    CommitInDoubtError,
    LedgerError,
    LedgerMovedError,
    PendingRevocationError,
    PkiError,
    StateError,
)
from pki.files.open_folder import opened_folder

_MOST_TRIES = 8
_Result = TypeVar("_Result")


@dataclass(slots=True)
class _Commit:
    """One transaction, and the audit log's head after it; None if it added nothing to the log."""

    transaction: Transaction
    head: AuditHead | None = None


class Ledger:
    """The CA's database. Make one with :meth:`create` or :meth:`open`, and close it after use."""

    def __init__(
        self,
        engine: Engine,
        place: LedgerPlace,
        mark: LedgerMark,
        *,
        access: LedgerAccess = WRITING,
        migrated: bool = False,
    ) -> None:
        self._engine = engine
        self.place = place
        self._turns: Turns[Step] = Turns()
        self._wait_seconds = access.wait_seconds
        self._urgency = Urgency.REVOCATION
        self._telling = Telling()
        self.mark = mark
        self.hints = place.hints(engine)
        self._reading = ReadingConnections(engine, place, is_for_reading=access.for_reading)
        self.migrated = migrated
        self.is_for_reading = access.for_reading
        # Called with the audit log's head after commits that added to it; it must not raise.
        self.after_entries: Callable[[AuditHead], None] = lambda _: None
        # Called before anything is decided that a revocation may forbid which is not recorded yet.
        self.recorder: Callable[[Ledger], object] = lambda _: None
        # Called in transactions: raises PendingRevocationError if something is not recorded yet.
        self.refuse_pending: Callable[[], object] = lambda: None

    @classmethod
    def create(cls, place: LedgerPlace, mark: Path) -> Ledger:
        """Make a new ledger.

        Args:
            place: where; nobody else may read a file there.
            mark: the file of its mark.

        Raises:
            StateError: if there is one already, or it can't be made.
        """
        place.create()
        return cls._connect(place, mark)

    @classmethod
    def open(cls, place: LedgerPlace, mark: Path, access: LedgerAccess = WRITING) -> Ledger:
        """Open a ledger, and migrate its tables to this version.

        Args:
            place: where it lies.
            mark: the file of its mark.
            access: how to open it.

        Raises:
            StateError: if it is not there.
            LedgerError: if it can't be read, or a newer handfast wrote it.
        """
        return cls._connect(place, mark, access)

    def waiting(self, seconds: float, urgency: Urgency | None = None) -> Ledger:
        """Return this ledger, whose transactions wait so long at most for others that write.

        The two share their connections; close only one of them.

        Args:
            seconds: how long.
            urgency: of its transactions; None leaves it as it is. It is the highest at first.
        """
        other = copy.copy(self)
        other._engine = self._engine.execution_options(**{BUSY: seconds})
        other._wait_seconds = seconds
        if urgency is not None:
            other._urgency = urgency
        return other

    def record_pending(self) -> None:
        """Record what is pending, before something is decided that depends on it.

        Raises:
            LedgerError: if the ledger still can't record it.
        """
        self.recorder(self)

    def run_recorded(
        self, step: Callable[[Transaction], _Result], needs: Needs = NOTHING
    ) -> _Result:
        """Run a step that depends on what is pending, as :meth:`run`: that is recorded first.

        Raises:
            LedgerError: if the ledger still can't record it.
        """

        def checked(transaction: Transaction) -> _Result:
            transaction.once(self.refuse_pending)
            return step(transaction)

        try:
            return self.run(checked, needs)
        except PendingRevocationError:
            self.record_pending()
        # What is pending by now was decided after this was asked for, and whoever signs looks too.
        return self.run(step, needs)

    @classmethod
    def _connect(cls, place: LedgerPlace, mark: Path, access: LedgerAccess = WRITING) -> Ledger:
        failed: LedgerError | None = None
        for engine in place.engines(access):
            try:
                migrated = migrate_place(engine, place, access)
            except LedgerError as error:
                engine.dispose()
                failed = failed or error
            except PkiError:
                engine.dispose()
                raise
            else:
                return cls(engine, place, LedgerMark(mark), access=access, migrated=migrated)
        assert failed is not None
        raise failed

    @contextmanager
    def transaction(self, *, accept_older: bool = False) -> Iterator[Transaction]:
        """Run a block in a transaction: commit if the block ends normally, else roll back.

        First, the ledger is compared with its mark. If the answer to the commit is lost, the ledger
        is read to find out whether the commit took place.

        Args:
            accept_older: work on an older copy of the ledger too.

        Raises:
            OlderLedgerError: if the ledger is an older copy, and ``accept_older`` is not set.
            CommitInDoubtError: if it is not known whether the commit took place.
            LedgerError: if the ledger fails, or the block changed something and the mark is behind
                and can't be written; then nothing was recorded.
        """
        if self.is_for_reading:
            with self.snapshot(newest=not accept_older) as transaction:
                yield transaction
            return
        with self._turns.turn(self._urgency, self._wait_seconds) as end_turn:
            commit = None
            try:
                with self._committing(accept_older=accept_older) as commit:
                    yield commit.transaction
            finally:
                end_turn()
                self._tell(commit)

    def run(self, step: Callable[[Transaction], _Result], needs: Needs = NOTHING) -> _Result:
        """Run a step in a transaction, and return its result once that is committed.

        The transaction may be shared with the steps of other threads. A step that raises is undone
        by itself. It may run in another thread than its caller's, which waits for it.

        Args:
            step: what is to be done. It must not depend on the thread that it runs in, and is run
                again if what it shares its commit with could not be recorded.
            needs: what it will read, as far as that is known.

        Raises:
            PkiError: as :meth:`transaction`, and what the step raises.
        """
        if self.is_for_reading:
            with self.snapshot(newest=True) as transaction:
                return step(transaction)
        taken = Step(step, needs)
        result = self._turns.share(taken, self._commit_each, self._urgency, self._wait_seconds)
        return cast("_Result", result)

    def _commit_each(self, shared: Shared[Step]) -> Sequence[Outcome]:
        """Run steps in one transaction while there is time; one that raises is undone alone.

        If a replica was faster, they are run again: what they have decided may be wrong now.
        """
        is_each_written = False
        # Open for all that is read and written in it now.
        with opened_folder(self.mark.path.parent):
            for _ in range(_MOST_TRIES - 1):
                try:
                    return self._commit_together(shared, is_each_written=is_each_written)
                except LedgerMovedError:
                    continue
                except LedgerError as error:
                    if is_each_written or len(shared.steps) == 1 or not is_conflict(error):
                        raise
                    # A row of one of them does not fit. Nothing was recorded: it shall fail alone.
                    is_each_written = True
            return self._commit_together(shared, is_each_written=is_each_written)

    def _commit_together(self, shared: Shared[Step], *, is_each_written: bool) -> Sequence[Outcome]:
        commit, is_over = None, False
        try:
            with self._committing() as commit:
                outcomes = take_steps(commit.transaction, shared, is_each_written=is_each_written)
            shared.committed(len(outcomes))
            is_over = True
        finally:
            self._tell(commit, has_turn=not is_over)
        return outcomes

    def _tell(self, commit: _Commit | None, *, has_turn: bool = False) -> None:
        """Tell of a commit; if it has failed, of what those before have left to it."""
        follows = not has_turn and self._turns.are_waited_for()
        head = self._telling.due(None if commit is None else commit.head, follows=follows)
        if head is not None:
            self.after_entries(head)

    @contextmanager
    def _committing(self, *, accept_older: bool = False) -> Iterator[_Commit]:
        """Run a block in a transaction, as :meth:`transaction`, in a turn that was given."""
        with (
            process_turn(self.mark.path.parent, self._wait_seconds),
            self._committing_now(accept_older=accept_older) as commit,
        ):
            yield commit

    @contextmanager
    def _committing_now(self, *, accept_older: bool) -> Iterator[_Commit]:
        try:
            with self._engine.connect() as connection, connection.begin() as sql_transaction:
                transaction = Transaction(connection)
                commit = _Commit(transaction)
                mark_error = None
                if not accept_older:
                    mark_error = compare(self.mark, transaction, self.place, self.snapshot)
                yield commit
                transaction.flush()
                if mark_error is not None and transaction.changed:
                    # Without a mark, nobody would notice if this commit were lost.
                    raise LedgerError(mark_error.message, remedy=mark_error.remedy) from mark_error
                token, state = transaction.advance() if transaction.changed else ("", None)
                head = transaction.audit.head() if transaction.audit.changed else None
                try:
                    sql_transaction.commit()
                except SQLAlchemyError as error:
                    # Roll back what may still be open on this connection, and free the lock.
                    connection.invalidate(error)
                    if state is None or not self._was_committed(token, state, error):
                        raise
        except SQLAlchemyError as error:
            raise failure_of(error, self.place, self._wait_seconds) from error
        commit.head = head
        if state is not None:
            if transaction.changes_trust:
                self.hints.send()
            # The commit is durable, even if the mark can't be written now: the next transaction
            # writes the mark, or refuses to change anything.
            with suppress(StateError):
                self.mark.write(state, replace=accept_older)

    @contextmanager
    def snapshot(self, *, newest: bool = False) -> Iterator[Transaction]:
        """Run a block on the ledger as it is now, for reading alone: writers are not locked out.

        Args:
            newest: refuse an older copy of the ledger.

        Raises:
            OlderLedgerError: if it is one.
            LedgerError: if the ledger fails.
        """
        # Read first: a mark that is read after the ledger may be of a commit after it.
        mark = self.mark.read() if newest else None
        try:
            with self._reading.connect(is_compared=newest) as connection:
                reading = connection.execution_options(**{READING: True})
                with reading.begin() as sql_transaction:
                    transaction = Transaction(reading)
                    if newest:
                        self.mark.refuse_older(mark, transaction.state())
                    yield transaction
                    sql_transaction.rollback()
        except SQLAlchemyError as error:
            what = "written now" if self.is_for_reading else "read"
            raise LedgerError(f"ledger can't be {what}: {cause_of(error)}") from error

    def _was_committed(self, token: str, state: LedgerState, cause: SQLAlchemyError) -> bool:
        """Return whether a commit took place whose answer was lost."""
        try:
            return self.place.was_committed(self._engine, token, state.sequence)
        except (SQLAlchemyError, StateError) as error:
            raise CommitInDoubtError(
                f"the ledger did not confirm the commit ({cause_of(cause)}), and can't be read now "
                f"({cause_of(error)}): whether it was recorded is not known",
                remedy="Check the disk, and then what was recorded: handfast list --all",
            ) from error

    def close(self) -> None:
        """Close every connection."""
        self.hints.close()
        self._reading.close()
