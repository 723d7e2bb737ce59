"""Bring the tables of a ledger to this version."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from pki.authority.ledger.databases.access import NO_TURN, LedgerAccess
from pki.authority.ledger.databases.place import LedgerPlace
from pki.errors import LedgerError, quote_untrusted

SCHEMA_VERSION = "0010"


# Any number that no other program takes in the same database.
_LOCK = 0x68616E64


def migrate_place(engine: Engine, place: LedgerPlace, access: LedgerAccess) -> bool:
    """Migrate the tables to this version, as :func:`migrate`.

    Args:
        engine: of the ledger.
        place: where it lies.
        access: how it is opened.

    Raises:
        LedgerError: if it can't be used, or a newer handfast wrote it.
    """
    try:
        return migrate(engine, access)
    except SQLAlchemyError as error:
        raise place.unusable(error) from error
    except (ValueError, TypeError) as error:
        raise LedgerError(
            f"ledger {quote_untrusted(place)} holds a value that can't be decoded: "
            f"{quote_untrusted(error)}",
            remedy="Bring it back from a backup, and then: handfast ca recover",
        ) from error


def migrate(engine: Engine, access: LedgerAccess) -> bool:
    """Migrate the tables to this version; return whether there was something to do.

    Args:
        engine: of the ledger.
        access: how it is opened.
    """
    with engine.connect().execution_options(**{NO_TURN: True}) as connection:
        if _is_current(connection):
            return False
    if access.for_reading:
        raise LedgerError("the ledger is from an older handfast, and can't be written now")
    options: dict[str, Any] = {NO_TURN: True}
    is_shared = engine.dialect.name == "postgresql"
    if is_shared:
        # What another replica has migrated is seen once its lock is ours.
        options["isolation_level"] = "READ COMMITTED"
    with engine.connect().execution_options(**options) as connection, connection.begin():
        if is_shared:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        return not _is_current(connection) and upgrade(connection, "head")


def _is_current(connection: Connection) -> bool:
    """Return whether the tables are those of this version.

    Raises:
        LedgerError: if they are those of a newer one.
    """
    if not inspect(connection).has_table("alembic_version"):
        return False
    version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if version is not None and version > SCHEMA_VERSION:
        raise LedgerError(
            f"ledger has schema {version}; this handfast knows {SCHEMA_VERSION}",
            remedy="Use the newer handfast that wrote it",
        )
    return bool(version == SCHEMA_VERSION)


def upgrade(connection: Connection, revision: str) -> bool:
    """Bring the tables to a version, in the connection's transaction; return True.

    Args:
        connection: of the ledger.
        revision: the version, or ``head``.
    """
    # Imported here, because importing alembic takes longer than issuing a certificate.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "pki.authority.ledger:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    return True
