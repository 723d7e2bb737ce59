"""The ledger in a database of PostgreSQL, which several replicas of the CA share.

Every transaction sees one snapshot (``REPEATABLE READ``). Each one that changes something ends by
raising the number of commits, and fails if another has raised it since the snapshot: so nobody
else changes what a transaction reads before it commits. That row is locked last and shortest.

So that replicas seldom fail each other, they write in turns: each waits for its turn, but not for
one that does not come, because its holder was stopped or cut off.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
)
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from pki.authority.ledger import tables
from pki.authority.ledger.beside.ledger_files import MARK
from pki.authority.ledger.databases.access import BUSY, BUSY_SECONDS, NO_TURN, READING, LedgerAccess
from pki.authority.ledger.databases.commits import holds_commit
from pki.authority.ledger.databases.hints import LedgerHints
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.postgresql_hints import PostgresqlHints
from pki.errors import InputError, LedgerError, MissingExtraError, StateError, quote_untrusted

SCHEMES = ("postgresql://", "postgres://")
_DRIVER = "postgresql+psycopg"
_PORT = 5432
# What a URL may say besides. None of them names a file that is read for another's good.
_PARAMETERS = frozenset({"host", "sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"})
_TURN_SECONDS = 1.0
"""How long a transaction waits for its turn, before it goes on beside the one that has it."""
_STALLED_SECONDS = 20
"""After how long the server ends a session that does nothing within a transaction."""
_STALLED_READING_SECONDS = 3600
_DOUBT_SECONDS = 30.0
_CONFLICTS = frozenset({"40001", "40P01"})
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_NO_LOCK, _UNIQUE, _READ_ONLY = "55P03", "23505", "25006"


@dataclass(frozen=True, slots=True)
class PostgresqlUrl:
    """The address of a database, e.g. ``postgresql://handfast@db.internal/ca``."""

    url: URL

    @classmethod
    def parse(cls, text: str) -> PostgresqlUrl:
        """Parse a URL.

        Raises:
            InputError: if it is none of a database, or says something that is not known.
        """
        remedy = "A ledger's database is named so: postgresql://USER@HOST:PORT/DATABASE"
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            url = None
        # The text may hold a password, so no message holds the text.
        if url is None or url.drivername not in {"postgresql", "postgres"}:
            raise InputError("the ledger's URL is no URL of a database", remedy=remedy)
        if "@" in (url.host or ""):
            # A part of a password would be taken for the host's, and shown, and written down.
            raise InputError(
                "the ledger's URL has a second @ before its host",
                remedy="Write an @ in a user's name or a password as %40",
            )
        unknown = sorted(set(url.query) - _PARAMETERS)
        if unknown:
            raise InputError(
                f"the ledger's URL has an unknown parameter: {quote_untrusted(unknown[0])}",
                remedy=f"It may have these: {', '.join(sorted(_PARAMETERS))}",
            )
        if not url.database:
            raise InputError("the ledger's URL names no database", remedy=remedy)
        return cls(url.set(drivername=_DRIVER))

    def __str__(self) -> str:
        """Return the URL without its password."""
        url = self.url
        bare = URL.create(
            "postgresql", url.username, None, url.host, url.port, url.database, url.query
        )
        return bare.render_as_string()


class PostgresqlDatabase(LedgerPlace):
    """A ledger in a database.

    Args:
        address: that of the database.
    """

    is_shared = True

    def __init__(self, address: PostgresqlUrl) -> None:
        self.address = address

    @classmethod
    def parse(cls, url: str) -> PostgresqlDatabase:
        """Return the database that a URL names; as :meth:`PostgresqlUrl.parse`."""
        return cls(PostgresqlUrl.parse(url))

    def __str__(self) -> str:
        """Return its URL without the password."""
        return str(self.address)

    def exists(self) -> bool:
        """Return whether the database holds tables of a ledger.

        Raises:
            LedgerError: if it can't be reached.
        """
        engine = _engine_of(self.address, LedgerAccess(for_reading=True))
        try:
            with engine.connect() as connection:
                return bool(inspect(connection).has_table(tables.ledger_state.name))
        except SQLAlchemyError as error:
            raise self.unusable(error) from error
        finally:
            engine.dispose()

    def create(self) -> None:
        """Make nothing: the database itself is made by its administrator.

        Raises:
            LedgerError: if it can't be reached.
            StateError: if it holds a ledger already.
        """
        if self.exists():
            raise StateError(
                f"{quote_untrusted(self)} holds a ledger already",
                remedy="Open it, or choose another database",
            )

    def engines(self, access: LedgerAccess) -> Iterator[Engine]:
        """Yield the one way to open it."""
        yield _engine_of(self.address, access)

    def check(self) -> None:
        """Check nothing: it is for the database's server to say who may change it."""

    def mark(self, ca_folder: Path) -> Path:
        """Return the path of the mark, which each replica keeps beside its keys."""
        return ca_folder / MARK

    def was_committed(self, engine: Engine, token: str, sequence: int) -> bool:
        """Return whether a commit took place; as :meth:`LedgerPlace.was_committed`.

        The server may still be at it: it has locked the row of the ledger's state. So we wait until
        we have locked that row ourselves. A server that is gone for a moment is asked again.
        """
        end = time.monotonic() + _DOUBT_SECONDS
        pause = 0.05
        while True:
            try:
                with engine.connect().execution_options(**{NO_TURN: True}) as connection:
                    connection.execute(select(tables.ledger_state.c.id).with_for_update())
                    return holds_commit(connection, token, sequence)
            except DBAPIError as error:
                if time.monotonic() > end:
                    raise
                # Else it has waited for that row already, or may look at once.
                if not (self.is_held(error) or self.was_outrun(error)):
                    time.sleep(pause)
                    pause = min(2 * pause, 1.0)

    def continue_numbers(self, connection: Connection) -> None:
        """Let ids go on after those of rows that were copied with their ids."""
        rows = connection.exec_driver_sql(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema "
            "AND column_name = 'id' AND column_default LIKE 'nextval(%%'"
        )
        for (name,) in rows.all():
            table = tables.metadata.tables.get(name)
            if table is not None:
                newest = select(func.max(table.c.id)).scalar_subquery()
                sequence = func.pg_get_serial_sequence(name, "id")
                connection.execute(
                    select(func.setval(sequence, func.coalesce(newest, 1), newest.is_not(None)))
                )

    def hints(self, engine: Engine) -> LedgerHints:
        """Return how replicas tell each other that the ledger has changed: by NOTIFY."""
        return PostgresqlHints(engine)

    def was_outrun(self, error: SQLAlchemyError) -> bool:
        """Return whether a transaction failed only because another machine's was faster."""
        cause: Any = getattr(error, "orig", None)
        if getattr(cause, "sqlstate", None) == _UNIQUE:
            # The next place in the audit log is taken: by who was faster.
            return bool(cause.diag.constraint_name == "audit_entries_pkey")
        return getattr(cause, "sqlstate", None) in _CONFLICTS

    def is_held(self, error: SQLAlchemyError) -> bool:
        """Return whether a transaction failed because another session did not free a lock."""
        return getattr(getattr(error, "orig", None), "sqlstate", None) == _NO_LOCK

    def unusable(self, error: SQLAlchemyError) -> LedgerError:
        """Return the error for a database that can't be used."""
        unusable = super().unusable(error)
        unusable.remedy = (
            f"See whether its server runs, and lets this user in: psql {quote_untrusted(self)}. "
            "A password is read from PGPASSWORD or ~/.pgpass"
        )
        return unusable


def _engine_of(address: PostgresqlUrl, access: LedgerAccess) -> Engine:
    arguments: dict[str, Any] = {
        "connect_timeout": 5,
        # None: a pooler between may give each transaction another session of the server.
        "prepare_threshold": None,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    if not access.for_reading:
        # Of several hosts, the one that is not a standby.
        arguments["target_session_attrs"] = "read-write"
    if "application_name" not in address.url.query:
        arguments["application_name"] = "handfast"
    try:
        engine = create_engine(
            address.url,
            connect_args=arguments,
            isolation_level="REPEATABLE READ",
            pool_pre_ping=True,
            pool_size=8,
            max_overflow=24,
        )
    except ModuleNotFoundError:
        raise MissingExtraError(
            "a ledger in PostgreSQL needs psycopg, which is not installed",
            remedy="Install handfast[postgresql]",
        ) from None
    event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", _leave_standby)
    return engine.execution_options(**{BUSY: access.wait_seconds, READING: access.for_reading})


def _begin(connection: Connection) -> None:
    """Take our turn, if the transaction may write: before its snapshot, which it would outlive.

    What is set, is set for the transaction: a pooler lets nothing be set for a session.
    """
    options = connection.get_execution_options()
    busy = options.get(BUSY, BUSY_SECONDS)
    if options.get(READING):
        # It hinders nobody, and may pause: an export into a pipe, a backup onto a slow disk.
        connection.exec_driver_sql(
            "SET TRANSACTION READ ONLY; "
            f"SET LOCAL idle_in_transaction_session_timeout = '{_STALLED_READING_SECONDS}s'"
        )
        return
    if not options.get(NO_TURN):
        _limit(connection, min(busy, _TURN_SECONDS))
        try:
            connection.exec_driver_sql("LOCK TABLE turns IN SHARE ROW EXCLUSIVE MODE")
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _NO_LOCK:
                raise
            driver: Any = connection.connection.dbapi_connection
            driver.rollback()
    _limit(connection, busy)


def _limit(connection: Connection, wait_seconds: float) -> None:
    """Let the transaction wait for locks so long, stall for a while at most, and be durable."""
    connection.exec_driver_sql(
        f"SET LOCAL lock_timeout = {max(1, int(wait_seconds * 1000))}; "
        f"SET LOCAL idle_in_transaction_session_timeout = '{_STALLED_SECONDS}s'; "
        "SET LOCAL synchronous_commit = on"
    )


def _leave_standby(context: ExceptionContext) -> None:
    """Connect anew after a server has refused to write: another one may be the primary by now."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True
