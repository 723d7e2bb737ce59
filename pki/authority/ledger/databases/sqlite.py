"""The ledger in SQLite: write-ahead log, every commit durable, one writer at a time.

A transaction takes the write lock when it begins (``BEGIN IMMEDIATE``), so no other process changes
what it reads before it commits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from pki.authority.ledger.beside.ledger_files import MARK, check_ledger_files, check_opened_files
from pki.authority.ledger.databases.access import BUSY, BUSY_SECONDS, READING, LedgerAccess
from pki.authority.ledger.databases.commits import holds_commit
from pki.authority.ledger.databases.failed_sync import guard, renew_unsynced
from pki.authority.ledger.databases.place import LedgerPlace
from pki.errors import StateError, quote_untrusted
from pki.files.open_folder import opened_folder


class SqliteFile(LedgerPlace):
    """A ledger in a file of SQLite, on this machine.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.parent
        self.file_names = (f"{path.name}-wal", f"{path.name}-shm")

    def __str__(self) -> str:
        """Return its path."""
        return str(self.path)

    def exists(self) -> bool:
        """Return whether the file is there, or something else in its place."""
        return os.path.lexists(self.path)

    def create(self) -> None:
        """Make a new file with mode 0600; as :meth:`LedgerPlace.create`."""
        path = self.path
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

    def engines(self, access: LedgerAccess) -> Iterator[Engine]:
        """Yield the ways to open it, the best one first.

        Raises:
            StateError: if there is no file.
        """
        if not self.path.is_file():
            raise StateError(f"ledger {quote_untrusted(self.path)} is not there")
        path = self.path.absolute()
        yield engine_of(path, access)
        # SQLite makes files beside a ledger to read it: not on a full disk, nor in a folder that
        # can't be written. Without a write-ahead log, all is in the ledger's own file.
        if access.for_reading and is_alone(path):
            yield engine_of(path, access, is_immutable=True)

    def check(self) -> None:
        """Check the ledger's files; as :meth:`LedgerPlace.check`."""
        check_ledger_files(self.path)

    def mark(self, ca_folder: Path) -> Path:
        """Return the path of the mark, which lies beside the ledger."""
        return self.path.absolute().with_name(MARK)

    def was_committed(self, engine: Engine, token: str, sequence: int) -> bool:
        """Return whether a commit took place; as :meth:`LedgerPlace.was_committed`."""
        # Closed without a commit, whose answer could be lost again.
        with engine.connect() as connection:
            return holds_commit(connection, token, sequence)

    def continue_numbers(self, connection: Connection) -> None:
        """Do nothing: SQLite looks at the ids that are there."""


def place_of(ledger: LedgerPlace | Path | None) -> LedgerPlace | None:
    """Return the place that a caller named: a path is that of a file."""
    return SqliteFile(ledger) if isinstance(ledger, Path) else ledger


_CACHE_KIB = 64 * 1024
"""A connection's cache, filled as far as it is used: keys and serial numbers are random, so a large
ledger's indexes are read and written all over."""
_CHECKPOINT_PAGES = 8000
"""At this length (32 MB) the write-ahead log is copied into the ledger. What many commits have
changed of one page is copied once."""


def engine_of(path: Path, access: LedgerAccess, *, is_immutable: bool = False) -> Engine:
    """Return an engine for a ledger's file.

    Args:
        path: the file, by its whole path.
        access: how to open it.
        is_immutable: make no files beside it, and look at none: nobody writes to it.
    """
    url = URL.create("sqlite", database=str(path))
    if is_immutable:
        query = {"immutable": "1", "uri": "true"}
        url = URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)
    if not access.for_reading:
        renew_unsynced(path)
    engine = create_engine(url)
    _check_around_opening(engine, path, access)
    event.listen(engine, "begin", _begin)
    if not access.for_reading:
        guard(engine, path)
    return engine.execution_options(**{BUSY: access.wait_seconds, READING: access.for_reading})


def is_alone(ledger: Path) -> bool:
    """Return whether no write-ahead log holds commits that the ledger's file lacks."""
    log = ledger.with_name(f"{ledger.name}-wal")
    return not log.exists() or not log.stat().st_size


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    milliseconds = int(options.get(BUSY, BUSY_SECONDS) * 1000)
    connection.exec_driver_sql(f"PRAGMA busy_timeout={milliseconds}")
    connection.exec_driver_sql("BEGIN" if options.get(READING) else "BEGIN IMMEDIATE")


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
        f"cache_size=-{_CACHE_KIB}",
        f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
        "foreign_keys=ON",
    )
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
