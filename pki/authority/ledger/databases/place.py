"""Where a ledger lies: in a file of SQLite, or in a database of PostgreSQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from pki.authority.ledger.databases.access import LedgerAccess
from pki.authority.ledger.databases.hints import LedgerHints
from pki.errors import LedgerError, quote_untrusted


class LedgerPlace(ABC):
    """Where a ledger lies, and how it is opened there. Its text names it in messages."""

    folder: Path | None = None
    """The folder with the ledger's files; None if they are another program's."""
    file_names: tuple[str, ...] = ()
    """The names of the files beside the ledger that belong to it."""
    is_shared = False
    """Whether several machines may write to it."""

    @abstractmethod
    def exists(self) -> bool:
        """Return whether a ledger is there, or at least its beginnings.

        Raises:
            LedgerError: if that can't be found out.
        """

    @abstractmethod
    def create(self) -> None:
        """Make room for a new ledger, where there is none.

        Raises:
            StateError: if there is one already, or it can't be made.
        """

    @abstractmethod
    def engines(self, access: LedgerAccess) -> Iterator[Engine]:
        """Yield the ways to open it, the best one first.

        Args:
            access: how to open it.
        """

    @abstractmethod
    def check(self) -> None:
        """Check that no untrusted user can change the ledger's files, or lead root elsewhere.

        Raises:
            StateError: if such a user can.
        """

    @abstractmethod
    def mark(self, ca_folder: Path) -> Path:
        """Return the path of the ledger's mark.

        Args:
            ca_folder: the folder of the CA's keys.
        """

    @abstractmethod
    def was_committed(self, engine: Engine, token: str, sequence: int) -> bool:
        """Return whether a commit took place whose answer was lost; it is not under way any more.

        Args:
            engine: the way to the ledger.
            token: the commit's.
            sequence: the number that it was to have.

        Raises:
            StateError: if the ledger has forgotten whether it did.
            SQLAlchemyError: if the ledger can't be read now.
        """

    @abstractmethod
    def continue_numbers(self, connection: Connection) -> None:
        """Let ids go on after those of rows that were copied with their ids.

        Args:
            connection: in the transaction that has copied them.
        """

    def was_outrun(self, error: SQLAlchemyError) -> bool:
        """Return whether a transaction failed only because another machine's was faster."""
        return False

    def hints(self, engine: Engine) -> LedgerHints:
        """Return how machines that share the ledger tell each other that it has changed.

        Args:
            engine: the way to the ledger.
        """
        del engine
        return LedgerHints()

    def is_held(self, error: SQLAlchemyError) -> bool:
        """Return whether a transaction failed because another session did not free a lock."""
        return False

    def unusable(self, error: SQLAlchemyError) -> LedgerError:
        """Return the error for a ledger that can't be used at all."""
        return LedgerError(f"ledger {quote_untrusted(self)} can't be used: {cause_of(error)}")


def cause_of(error: Exception) -> str:
    """Return what a database says of an error, for a message: its first line, quoted.

    The lines after it may hold what the row holds.
    """
    cause = str(getattr(error, "orig", None) or error).strip()
    return quote_untrusted(cause.partition("\n")[0])
