"""``pytest --ledger=postgresql``: the CAs that tests make lie in databases, not in files.

The same tests run so on both. Each CA's folder gets a database of its own, by its path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from pki.authority.ledger import Ledger, home
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from tests.postgresql import PostgresqlServer

OPTION = "--ledger"
_TEMPLATE = "migrated"
# What the migrations write, and draw for each new ledger.
_AS_NEW = """;
INSERT INTO audit_log (id, size, edge, minimum_index) VALUES (1, 0, '', 0);
INSERT INTO ledger_state (id, ledger_id, sequence) VALUES (1, md5(random()::text), 0);
INSERT INTO ca_secrets VALUES ('mac', sha256(random()::text::bytea))
"""


def is_in_postgresql(config: pytest.Config) -> bool:
    """Return whether this run's CAs lie in databases."""
    return bool(config.getoption(OPTION) == "postgresql")


class Databases:
    """A database for each folder of a CA in a test. The next test gets it emptied.

    Args:
        server: their server.
    """

    def __init__(self, server: PostgresqlServer) -> None:
        self._server = server
        self._of_folders: dict[str, str] = {}
        self._used: list[str] = []
        self._made = 0
        place = PostgresqlDatabase.parse(server.make_database(_TEMPLATE))
        Ledger.create(place, server.folder / "no.mark").close()
        names = server.execute(
            "SELECT string_agg(tablename, ', ') FROM pg_tables "
            "WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
            _TEMPLATE,
        )
        self._empty = f"SET lock_timeout = '1s'; TRUNCATE {names[0][0]} RESTART IDENTITY CASCADE"

    def place(self, folder: Path) -> LedgerPlace:
        """Return the place of a CA's ledger."""
        name = self._of_folders.get(str(folder.absolute()))
        if name is None:
            name = self._of_folders[str(folder.absolute())] = self._new()
        return PostgresqlDatabase.parse(self._server.url(name))

    def end_test(self) -> None:
        """Let the databases of a test be used again."""
        self._used += self._of_folders.values()
        self._of_folders.clear()

    def _new(self) -> str:
        while self._used:
            name = self._used.pop()
            # One whose CA is still open somewhere is left alone.
            with suppress(psycopg.errors.LockNotAvailable):
                self._server.execute(self._empty + _AS_NEW, name)
                return name
        self._made += 1
        name = f"ca_{self._made}"
        self._server.make_database(name, template=_TEMPLATE)
        self._server.execute(self._empty + _AS_NEW, name)
        return name


@pytest.fixture(scope="session", autouse=True)
def databases(pytestconfig: pytest.Config) -> Iterator[Databases | None]:
    """Let the CAs of this run lie where the option says."""
    if not is_in_postgresql(pytestconfig):
        yield None
        return
    with PostgresqlServer(fsync="off", full_page_writes="off") as server:
        made = Databases(server)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(home, "default_place", made.place)
            yield made


@pytest.fixture(autouse=True)
def ledger_places(databases: Databases | None, request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the next test use the databases of this one; leave out what is about a file."""
    if databases is not None and request.node.get_closest_marker("sqlite"):
        pytest.skip("is about a ledger's file")
    yield
    if databases is not None:
        databases.end_test()
