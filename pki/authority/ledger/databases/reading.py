"""Connections for reading: a database that takes no writes may still be read.

Whoever writes is led past a standby, and a primary that is gone, or a database that was made
read-only, is no place to write to. But what a revocation means can be read there, so that it can be
published (ADR 19). Whether that database is an older one, the ledger's mark says.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from pki.authority.ledger.databases.access import LedgerAccess
from pki.authority.ledger.databases.place import LedgerPlace

_AGAIN_SECONDS = 5.0
"""After how long the way to write is tried first again: a host that is gone takes seconds."""


class ReadingConnections:
    """The ways to read a ledger: the one to write, and another where that is closed.

    Args:
        engine: the way to write.
        place: where the ledger lies.
        is_for_reading: whether that way is one to read already.
        monotonic: returns seconds that only grow.
    """

    def __init__(
        self,
        engine: Engine,
        place: LedgerPlace,
        *,
        is_for_reading: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._place = place
        self._has_other = place.is_shared and not is_for_reading
        self._other: Engine | None = None
        self._monotonic = monotonic
        self._closed_until = 0.0

    def connect(self, *, is_compared: bool) -> Connection:
        """Return a connection; close it after use.

        Args:
            is_compared: whether what is read is compared with the ledger's mark. Else only the way
                to write is taken: a standby that is behind would show what was true once.

        Raises:
            SQLAlchemyError: if the ledger can't be read.
        """
        if not (self._has_other and is_compared):
            return self._engine.connect()
        if self._monotonic() >= self._closed_until:
            try:
                return self._engine.connect()
            except DBAPIError:
                self._closed_until = self._monotonic() + _AGAIN_SECONDS
        if self._other is None:
            self._other = next(iter(self._place.engines(LedgerAccess(for_reading=True))))
        return self._other.connect()

    def close(self) -> None:
        """Close every connection of both."""
        self._engine.dispose()
        if self._other is not None:
            self._other.dispose()
