"""Turn a CA's ledger into one of an older schema, as an older handfast would have left it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, MetaData, create_engine, insert, select

from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.authority.ledger.databases.url_file import LEDGER_URL, write_ledger_url

_FIRST_WITH_MARK = "0002"


def make_older(home: Path, revision: str) -> None:
    """Copy what the older schema knows into a new file of that schema, in place of the ledger."""
    ledger, older = home / "ledger.db", home / "older.db"
    _copy(create_engine(f"sqlite:///{ledger}"), create_engine(f"sqlite:///{older}"), revision)
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (home / name).unlink(missing_ok=True)
    if revision < _FIRST_WITH_MARK:
        (home / "ledger.mark").unlink(missing_ok=True)
    older.chmod(0o600)
    older.replace(ledger)


def make_older_in(
    home: Path, ledger: PostgresqlDatabase, older: PostgresqlDatabase, revision: str
) -> None:
    """Copy what the older schema knows into an empty database, and let the CA's folder name it."""
    source, target = (create_engine(place.address.url) for place in (ledger, older))
    _copy(source, target, revision, older)
    (home / LEDGER_URL).unlink()
    write_ledger_url(home, older)


def _copy(
    source: Engine, target: Engine, revision: str, place: PostgresqlDatabase | None = None
) -> None:
    with source.begin() as reading, target.begin() as writing:
        config = Config()
        config.set_main_option("script_location", "pki.authority.ledger:migrations")
        config.attributes["connection"] = writing
        command.upgrade(config, revision)
        _copy_rows(reading, writing)
        if place is not None:
            place.continue_numbers(writing)
    source.dispose()
    target.dispose()


def _copy_rows(reading: Connection, writing: Connection) -> None:
    known, kept = MetaData(), MetaData()
    known.reflect(writing)
    kept.reflect(reading)
    for table in known.sorted_tables:
        if table.name in kept.tables and table.name != "alembic_version":
            writing.execute(table.delete())
            rows = reading.execute(
                select(*(kept.tables[table.name].c[item.name] for item in table.c))
            ).mappings()
            for row in rows:
                writing.execute(insert(table).values(**row))
