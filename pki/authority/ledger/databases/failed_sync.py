"""What follows a sync of the ledger's file that failed: nothing is read back from that file.

The kernel reports it once, and may keep in memory what never reached the disk: all who read the
file would take it for recorded (https://wiki.postgresql.org/wiki/Fsync_Errors). The rules:

1. The failure is noted in a file beside the ledger. That need not survive a crash of the machine:
   what was in its memory is gone then, too.
2. While the note is there, no transaction begins. A service ends.
3. Whoever opens the ledger next first copies it to a new file, syncs that, reads it back from the
   disk, checks it, and puts it in the place of the old one. If that fails, the ledger stays as it
   was, and can't be written; revocations are published before they are recorded, as always then.
4. No transaction begins in a file that was replaced since it was opened.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import Dialect, ExceptionContext
from sqlalchemy.pool import ConnectionPoolEntry

from pki.authority.ledger.beside.ledger_files import check_ledger_files, check_opened_files
from pki.background import defer
from pki.errors import FailedSyncError, LedgerError, PkiError, quote_untrusted
from pki.files import locked
from pki.files.open_folder import PRIVATE, OpenFolder, opened_folder

log = logging.getLogger(__name__)

NOTE = "ledger.unsynced"
_LOCK = ".ledger.unsynced.lock"
_COPY = ".ledger.copy"
_FAILED_SYNCS = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})
_WAIT_SECONDS = 60.0
_OPENED = "handfast_file"
_REMEDY = (
    "Look at the disk (dmesg), and end every process of this CA; the next one copies the ledger to "
    "a new file first"
)


def guard(engine: Engine, ledger: Path) -> None:
    """Let an engine note failed syncs, and begin nothing in a file that may be read no more."""
    guarded = _Guard(engine, ledger)
    event.listen(engine, "do_connect", guarded.note_file)
    event.listen(engine, "begin", guarded.check)
    event.listen(engine, "handle_error", guarded.note_failure)


class _Guard:
    def __init__(self, engine: Engine, ledger: Path) -> None:
        self._engine = engine
        self._ledger = str(ledger)
        self._note = str(_note_of(ledger))
        # The note itself may not be written: the disk fails.
        self._has_failed = False

    def note_file(self, _: Dialect, record: ConnectionPoolEntry | None, *__: object) -> None:
        # Before it is opened: if it is replaced in between, it is opened once more.
        if record is not None:
            record.info[_OPENED] = self._file()

    def check(self, connection: Connection) -> None:
        """Check a transaction that has just begun, and so holds the lock where it may write."""
        if self._has_failed or os.path.lexists(self._note):
            raise FailedSyncError(
                "a sync of the ledger's file has failed, so what can be read of it now may never "
                "have reached the disk",
                remedy=_REMEDY,
            )
        if connection.info.get(_OPENED) != self._file():
            # Those that wait in the pool have the old file too.
            connection.invalidate()
            self._engine.dispose()
            raise LedgerError(
                f"the ledger {quote_untrusted(self._ledger)} was replaced a moment ago",
                remedy="Try again",
            )

    def note_failure(self, context: ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlite_errorcode", None) not in _FAILED_SYNCS:
            return
        self._has_failed = True
        with suppress(OSError, PkiError), opened_folder(Path(self._note).parent) as folder:
            folder.create(NOTE, b"", mode=PRIVATE)

    def _file(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._ledger)
        except OSError:
            return None
        return status.st_dev, status.st_ino


def renew_unsynced(ledger: Path) -> None:
    """Copy a ledger to a new file, if a sync of it has failed; else do nothing.

    Args:
        ledger: its path. Its write-ahead log is copied with it.

    Raises:
        LedgerError: if it can't be copied, or the copy is damaged; then it is as it was.
        StateError: if another process copies it for too long, or its folder can't be trusted.
    """
    note = _note_of(ledger)
    if not os.path.lexists(note):
        return
    with locked(note.parent, name=_LOCK, wait_seconds=_WAIT_SECONDS):
        if not os.path.lexists(note):
            return
        ledger = Path(os.path.realpath(ledger))
        check_ledger_files(ledger)
        try:
            _replace(ledger)
        except (OSError, sqlite3.Error) as error:
            cause = isinstance(error, OSError) and error.strerror
            raise LedgerError(
                f"a sync of the ledger {quote_untrusted(ledger)} has failed before, and it can't "
                f"be copied to a new file: {cause or quote_untrusted(error)}",
                remedy="Look at the disk (dmesg), and whether it has room for a second ledger",
            ) from error
    defer(log.warning, "a sync of the ledger had failed: it was copied to a new file")


def _replace(ledger: Path) -> None:
    copy = ledger.with_name(_COPY)
    with opened_folder(ledger.parent) as folder:
        folder.remove(copy.name)
        folder.create(copy.name, b"", mode=PRIVATE)
        try:
            with _held(ledger):
                _copy(ledger, copy)
                _sync(folder, copy.name)
                _check(copy)
                folder.rename(copy.name, ledger.name)
                folder.sync()
        except BaseException:
            folder.remove(copy.name)
            raise
        # Whoever is killed here leaves a write-ahead log that says the same as the new file.
        for suffix in ("-wal", "-shm"):
            folder.remove(ledger.name + suffix)
        folder.remove(NOTE)
        folder.sync()


@contextmanager
def _held(ledger: Path) -> Iterator[None]:
    """Hold the lock to write of the old file: what has begun there is refused, as is all later."""
    with _opened(ledger) as connection:
        connection.execute("BEGIN IMMEDIATE")
        check_opened_files(ledger, "", "-wal", "-shm")
        yield
        connection.execute("ROLLBACK")


def _copy(ledger: Path, copy: Path) -> None:
    # From a connection that writes, SQLite makes no copy.
    with _opened(ledger) as source, _opened(copy) as target:
        # Synced as a whole afterwards.
        for pragma in ("journal_mode=OFF", "synchronous=OFF"):
            target.execute(f"PRAGMA {pragma}")
        source.backup(target)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file, and let SQLite do nothing with it before it is known to be this very file."""
    with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
        check_opened_files(path, "")
        yield connection


def _sync(folder: OpenFolder, name: str) -> None:
    descriptor = folder.open_file(name)
    try:
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            # So that what is checked is read from the disk.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _check(copy: Path) -> None:
    address = f"file:{quote(str(copy))}?immutable=1"
    with closing(sqlite3.connect(address, uri=True)) as connection:
        findings = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if findings != [("ok",)]:
        raise sqlite3.DatabaseError(f"the copy is damaged: {findings[0][0]}")


def _note_of(ledger: Path) -> Path:
    return Path(os.path.realpath(ledger)).with_name(NOTE)
