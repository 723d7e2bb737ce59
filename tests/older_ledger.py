"""Turn a CA's ledger into one of an older schema, as an older handfast would have left it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, create_engine, insert, select


def make_older(home: Path, revision: str) -> None:
    """Copy what the older schema knows into a new file of that schema, in place of the ledger."""
    ledger, older = home / "ledger.db", home / "older.db"
    source, target = create_engine(f"sqlite:///{ledger}"), create_engine(f"sqlite:///{older}")
    with source.begin() as reading, target.begin() as writing:
        config = Config()
        config.set_main_option("script_location", "pki.authority.ledger:migrations")
        config.attributes["connection"] = writing
        command.upgrade(config, revision)
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
    source.dispose()
    target.dispose()
    for name in ("ledger.db-wal", "ledger.db-shm", "ledger.mark"):
        (home / name).unlink(missing_ok=True)
    older.chmod(0o600)
    older.replace(ledger)
