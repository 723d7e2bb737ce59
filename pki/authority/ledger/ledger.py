"""The ledger in SQLite: write-ahead log, every commit durable, one writer at a time.

A transaction takes the write lock when it begins (``BEGIN IMMEDIATE``), so no other process changes
what it reads before it commits. A ledger that can't be written now is opened for reading alone:
then its transactions see it as it was committed last, and change nothing.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from pki.authority.ledger.audit import AuditHead
from pki.authority.ledger.ledger_files import MARK, check_ledger_files, check_opened_files
from pki.authority.ledger.mark import LedgerMark
from pki.authority.ledger.transaction import Transaction
from pki.errors import CommitInDoubtError, LedgerError, PkiError, StateError, quote_untrusted
from pki.files.open_folder import opened_folder

SCHEMA_VERSION = "0007"
BUSY_SECONDS = 30.0
_READING, _BUSY = "handfast_reading", "handfast_busy"


@dataclass(frozen=True, slots=True)
class LedgerAccess:
    """How to open a ledger.

    Args:
        for_reading: take no lock and change nothing: for a ledger that can't be written now.
        wait_seconds: how long each transaction waits for another process that writes.
    """

    for_reading: bool = False
    wait_seconds: float = BUSY_SECONDS


WRITING = LedgerAccess()


class Ledger:
    """The CA's database. Make one with :meth:`create` or :meth:`open`, and close it after use."""

    def __init__(
        self,
        engine: Engine,
        mark: LedgerMark,
        *,
        migrated: bool = False,
        for_reading: bool = False,
    ) -> None:
        self._engine = engine
        self.mark = mark
        self.migrated = migrated
        self.is_for_reading = for_reading
        # Called after each commit that added to the audit log; it must not raise.
        self.after_entries: Callable[[AuditHead], None] = lambda _: None
        # Called before anything is decided that a revocation may forbid which is not recorded yet.
        self.recorder: Callable[[Ledger], object] = lambda _: None

    @classmethod
    def create(cls, path: Path) -> Ledger:
        """Make a new ledger file with mode 0600.

        Raises:
            StateError: if there is a file already, or it can't be made.
        """
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
            with opened_folder(path.parent) as folder:
                os.close(os.open(path.name, flags, 0o600, dir_fd=folder.descriptor))
        except FileExistsError:
            raise StateError(
                f"{quote_untrusted(path)} is there already",
                remedy="Open it, or choose another folder",
            ) from None
        except OSError as error:
            raise StateError(f"{quote_untrusted(path)} can't be made: {error.strerror}") from error
        return cls._connect(path)

    @classmethod
    def open(cls, path: Path, access: LedgerAccess = WRITING) -> Ledger:
        """Open a ledger, and migrate its tables to this version.

        Raises:
            StateError: if it is not there.
            LedgerError: if it can't be read, or a newer handfast wrote it.
        """
        if not path.is_file():
            raise StateError(f"ledger {quote_untrusted(path)} is not there")
        return cls._connect(path, access)

    def waiting(self, seconds: float) -> Ledger:
        """Return this ledger, whose transactions wait so long at most for others that write.

        The two share their connections; close only one of them.
        """
        other = copy.copy(self)
        other._engine = self._engine.execution_options(**{_BUSY: seconds})
        return other

    def record_pending(self) -> None:
        """Record what is pending, before something is decided that depends on it.

        Raises:
            LedgerError: if the ledger still can't record it.
        """
        self.recorder(self)

    @classmethod
    def _connect(cls, path: Path, access: LedgerAccess = WRITING) -> Ledger:
        path = path.absolute()
        try:
            return cls._connect_to(URL.create("sqlite", database=str(path)), path, access)
        except LedgerError:
            # SQLite makes files beside a ledger to read it: not on a full disk, nor in a folder
            # that can't be written. Without a write-ahead log, all is in the ledger's own file.
            if not access.for_reading or not _is_alone(path):
                raise
        query = {"immutable": "1", "uri": "true"}
        url = URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)
        return cls._connect_to(url, path, access)

    @classmethod
    def _connect_to(cls, url: URL, path: Path, access: LedgerAccess) -> Ledger:
        engine = create_engine(url)
        _check_around_opening(engine, path, access)
        event.listen(engine, "begin", _begin)
        engine = engine.execution_options(
            **{_BUSY: access.wait_seconds, _READING: access.for_reading}
        )
        try:
            migrated = _migrate(engine, access)
        except SQLAlchemyError as error:
            engine.dispose()
            raise LedgerError(
                f"ledger {quote_untrusted(path)} can't be used: {_cause(error)}"
            ) from error
        except (ValueError, TypeError) as error:
            engine.dispose()
            raise LedgerError(
                f"ledger {quote_untrusted(path)} holds a value that can't be decoded: "
                f"{quote_untrusted(error)}",
                remedy="Bring it back from a backup, and then: handfast ca recover",
            ) from error
        except PkiError:
            engine.dispose()
            raise
        return cls(
            engine,
            LedgerMark(path.with_name(MARK)),
            migrated=migrated,
            for_reading=access.for_reading,
        )

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
        try:
            with self._engine.connect() as connection, connection.begin() as sql_transaction:
                transaction = Transaction(connection)
                mark_error = None
                if not accept_older:
                    mark_error = self.mark.compare(transaction.state())
                yield transaction
                transaction.audit.flush()
                if mark_error is not None and transaction.changed:
                    # Without a mark, nobody would notice if this commit were lost.
                    raise LedgerError(mark_error.message, remedy=mark_error.remedy) from mark_error
                token, state = transaction.advance() if transaction.changed else (None, None)
                head = transaction.audit.head() if transaction.audit.changed else None
                try:
                    sql_transaction.commit()
                except SQLAlchemyError as error:
                    # Roll back what may still be open on this connection, and free the lock.
                    connection.invalidate(error)
                    if token is None or not self._was_committed(token, error):
                        raise
        except SQLAlchemyError as error:
            raise LedgerError(
                f"ledger could not record: {_cause(error)}",
                remedy="Nothing was handed out; check the disk and try again",
            ) from error
        if state is not None:
            # The commit is durable, even if the mark can't be written now: the next transaction
            # writes the mark, or refuses to change anything.
            with suppress(StateError):
                self.mark.write(state, replace=accept_older)
        if head is not None:
            self.after_entries(head)

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
            with self._engine.connect() as connection:
                reading = connection.execution_options(**{_READING: True})
                with reading.begin() as sql_transaction:
                    transaction = Transaction(reading)
                    if newest:
                        self.mark.refuse_older(mark, transaction.state())
                    yield transaction
                    sql_transaction.rollback()
        except SQLAlchemyError as error:
            what = "written now" if self.is_for_reading else "read"
            raise LedgerError(f"ledger can't be {what}: {_cause(error)}") from error

    def _was_committed(self, token: str, cause: SQLAlchemyError) -> bool:
        """Return whether a commit took place whose answer was lost."""
        try:
            # Closed without a commit, whose answer could be lost again.
            with self._engine.connect() as connection:
                return Transaction(connection).holds_commit(token)
        except (SQLAlchemyError, StateError) as error:
            raise CommitInDoubtError(
                f"the ledger did not confirm the commit ({_cause(cause)}), and can't be read now "
                f"({_cause(error)}): whether it was recorded is not known",
                remedy="Check the disk, and then what was recorded: handfast list --all",
            ) from error

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _is_alone(ledger: Path) -> bool:
    """Return whether no write-ahead log holds commits that the ledger's file lacks."""
    log = ledger.with_name(f"{ledger.name}-wal")
    return not log.exists() or not log.stat().st_size


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    milliseconds = int(options.get(_BUSY, BUSY_SECONDS) * 1000)
    connection.exec_driver_sql(f"PRAGMA busy_timeout={milliseconds}")
    connection.exec_driver_sql("BEGIN" if options.get(_READING) else "BEGIN IMMEDIATE")


def _check_around_opening(engine: Engine, path: Path, access: LedgerAccess) -> None:
    def check(*_: object) -> None:
        check_ledger_files(path)

    def prepare(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        try:
            check_opened_files(path, "")
            _prepare(connection, access)
            if not access.for_reading:
                # The journal mode has made SQLite open the write-ahead log too.
                check_opened_files(path, "", "-wal", "-shm")
        except BaseException:
            connection.close()
            raise

    event.listen(engine, "do_connect", check)
    event.listen(engine, "connect", prepare)


def _prepare(connection: DBAPIConnection, access: LedgerAccess) -> None:
    # Turns the driver's own transactions off: the "begin" event above begins them.
    connection.isolation_level = None
    cursor = connection.cursor()
    pragmas = (
        f"busy_timeout={int(BUSY_SECONDS * 1000)}",
        *(["query_only=ON"] if access.for_reading else ["journal_mode=WAL", "synchronous=FULL"]),
        "foreign_keys=ON",
    )
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _migrate(engine: Engine, access: LedgerAccess) -> bool:
    """Migrate the tables to this version; return whether there was something to do."""
    with engine.begin() as connection:
        if inspect(connection).has_table("alembic_version"):
            version = connection.scalar(text("SELECT version_num FROM alembic_version"))
            if version == SCHEMA_VERSION:
                return False
            if version is not None and version > SCHEMA_VERSION:
                raise LedgerError(
                    f"ledger has schema {version}; this handfast knows {SCHEMA_VERSION}",
                    remedy="Use the newer handfast that wrote it",
                )
        if access.for_reading:
            raise LedgerError("the ledger is from an older handfast, and can't be written now")
        # Imported here, because importing alembic takes longer than issuing a certificate.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", "pki.authority.ledger:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return True


def _cause(error: Exception) -> str:
    return quote_untrusted(getattr(error, "orig", None) or error)
