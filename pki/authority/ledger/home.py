"""Where the ledger of a CA in a folder lies, and how it is opened there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pki.authority.ledger.databases.access import WRITING, LedgerAccess
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.authority.ledger.databases.sqlite import SqliteFile
from pki.authority.ledger.databases.url_file import read_ledger_url, write_ledger_url
from pki.authority.ledger.ledger import Ledger

LEDGER = "ledger.db"


def default_place(folder: Path) -> LedgerPlace:
    """Return where the ledger of a CA in a folder lies if nobody says it: in a file there."""
    return SqliteFile(folder / LEDGER)


@dataclass(frozen=True, slots=True)
class LedgerHome:
    """Where a CA's ledger lies.

    Args:
        folder: the CA's.
        elsewhere: the place that was named; None: the one that the folder names, or a file there.
    """

    folder: Path
    elsewhere: LedgerPlace | None = None

    @property
    def place(self) -> LedgerPlace:
        """Where the ledger lies.

        Raises:
            PkiError: if the folder names another place, and it can't be read.
        """
        return self.elsewhere or read_ledger_url(self.folder) or default_place(self.folder)

    @property
    def disk(self) -> Path:
        """The folder on whose disk this machine's part of the CA grows."""
        return self.place.folder or self.folder

    def open(self, access: LedgerAccess = WRITING) -> Ledger:
        """Open the ledger; as :meth:`Ledger.open`."""
        place = self.place
        return Ledger.open(place, place.mark(self.folder), access)

    def create(self) -> Ledger:
        """Make the ledger; as :meth:`Ledger.create`."""
        place = self.place
        return Ledger.create(place, place.mark(self.folder))

    def remember(self) -> None:
        """Write down in which database the ledger lies, if one was named."""
        if isinstance(self.elsewhere, PostgresqlDatabase):
            write_ledger_url(self.folder, self.elsewhere)
