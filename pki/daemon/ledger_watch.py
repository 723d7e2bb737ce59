"""Notices that the ledger can't be changed: another process holds it, or it can't be written."""

from __future__ import annotations

import time
from collections.abc import Callable

from pki.authority.ledger import Ledger
from pki.background import defer
from pki.credentials.periodic import PeriodicTask
from pki.daemon.parts import log
from pki.errors import PkiError

_SECONDS, _WAIT_SECONDS = 1.0, 0.5
# Longer than a list of 100,000 entries takes to sign, which is done in a transaction.
_STUCK_SECONDS = 8.0


class LedgerWatch:
    """Begins a transaction every second, which changes nothing.

    Args:
        ledger: the CA's.
        monotonic: returns seconds that only grow.
    """

    def __init__(self, ledger: Ledger, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger.waiting(_WAIT_SECONDS)
        self._monotonic = monotonic
        self._free_at = monotonic()
        self._is_told = False
        self._task = PeriodicTask(_SECONDS, self.check, "handfast-ledger-watch")

    def start(self) -> None:
        """Start the thread."""
        self._task.start()

    def stop(self, seconds: float) -> None:
        """Stop the thread."""
        self._task.stop(seconds)

    @property
    def is_stuck(self) -> bool:
        """Whether no transaction has been possible for some seconds."""
        return self._monotonic() - self._free_at > _STUCK_SECONDS

    def check(self) -> None:
        """Begin a transaction, and end it."""
        try:
            with self._ledger.transaction():
                pass
        except PkiError as error:
            if self.is_stuck and not self._is_told:
                self._is_told = True
                defer(
                    log.error,
                    "the ledger has not been free for %d s, so nothing is issued: %s. See which "
                    "process holds it",
                    int(_STUCK_SECONDS),
                    error,
                )
            return
        self._free_at = self._monotonic()
        if self._is_told:
            self._is_told = False
            defer(log.info, "the ledger is free again")
