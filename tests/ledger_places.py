"""``pytest --ledger=postgresql``: the CAs that tests make lie in databases, not in files.

The same tests run so on both. Each CA's folder gets a database of its own, by its path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority.ledger import Ledger, home
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase, PostgresqlUrl
from tests.postgresql import PostgresqlServer

OPTION = "--ledger"
_TEMPLATE = "migrated"


def is_in_postgresql(config: pytest.Config) -> bool:
    """Return whether this run's CAs lie in databases."""
    return bool(config.getoption(OPTION) == "postgresql")


class Databases:
    """A database for each folder of a CA, made when it is asked for.

    Args:
        server: their server.
    """

    def __init__(self, server: PostgresqlServer) -> None:
        self._server = server
        self._made: set[str] = set()
        place = PostgresqlDatabase(PostgresqlUrl.parse(server.make_database(_TEMPLATE)))
        Ledger.create(place, server.folder / "no.mark").close()

    def place(self, folder: Path) -> LedgerPlace:
        """Return the place of a CA's ledger."""
        name = f"ca_{hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]}"
        if name not in self._made:
            self._made.add(name)
            self._server.make_database(name, template=_TEMPLATE)
            # What a new ledger draws for itself.
            self._server.execute(
                "UPDATE ledger_state SET ledger_id = md5(random()::text); "
                "UPDATE ca_secrets SET value = sha256(random()::text::bytea)",
                name,
            )
        return PostgresqlDatabase(PostgresqlUrl.parse(self._server.url(name)))


@pytest.fixture(scope="session", autouse=True)
def ledger_places(pytestconfig: pytest.Config) -> Iterator[None]:
    """Let the CAs of this run lie where the option says."""
    if not is_in_postgresql(pytestconfig):
        yield
        return
    with PostgresqlServer(fsync="off", full_page_writes="off") as server:
        databases = Databases(server)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(home, "default_place", databases.place)
            yield
