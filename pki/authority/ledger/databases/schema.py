"""Bring the tables of a ledger to this version."""

from __future__ import annotations

from sqlalchemy import Engine, inspect, text

from pki.authority.ledger.databases.access import LedgerAccess
from pki.errors import LedgerError

SCHEMA_VERSION = "0008"


def migrate(engine: Engine, access: LedgerAccess, *, revision: str = "head") -> bool:
    """Migrate the tables to this version; return whether there was something to do.

    Args:
        engine: of the ledger.
        access: how it is opened.
        revision: for an empty database, the version that its tables shall have.
    """
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
        command.upgrade(config, revision)
        return True
