"""The ledger in SQLite: write-ahead log, every commit durable, one writer at a time.

A transaction takes the write lock when it begins (``BEGIN IMMEDIATE``), so no other process changes
what it reads before it commits.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from pki.authority.ledger.databases.access import BUSY, BUSY_SECONDS, READING, LedgerAccess
from pki.authority.ledger.ledger_files import check_ledger_files, check_opened_files

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
    engine = create_engine(url)
    _check_around_opening(engine, path, access)
    event.listen(engine, "begin", _begin)
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
