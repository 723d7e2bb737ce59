"""Prunes the ledger of a CA that is served, a little at a time, and only while the clock is sane.

A clock that is far ahead would prune what has not ended, a revocation among it. So the time is
believed only as far as the audit log confirms it, as by ``handfast ca prune``. Besides, nothing is
pruned before the clock has gone for an hour as the monotonic one does; a jump begins that hour
anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from pki.authority.context import AuthorityContext
from pki.authority.ledger.commits.urgency import Urgency
from pki.authority.pruning.prune import START, PruneBounds, prune_step
from pki.authority.pruning.settled_time import SETTLED

_DIFFER = timedelta(seconds=60)
_STEPS = 100
_WAIT_SECONDS = 1.0


class PruneUpkeep:
    """The upkeep of one CA.

    Args:
        context: the CA.
        keep: how long after its end a certificate is kept.
        monotonic: returns seconds that only grow.
    """

    def __init__(
        self,
        context: AuthorityContext,
        keep: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        # Everybody else goes first.
        ledger = context.ledger.waiting(_WAIT_SECONDS, Urgency.STRANGER)
        self._context = replace(context, ledger=ledger)
        self._keep = keep
        self._monotonic = monotonic
        self._began = self._times()
        self._cursor = START
        self._bounds: PruneBounds | None = None
        self.pruned = 0
        """How many certificates this process has pruned."""

    def run(self) -> None:
        """Prune some certificates, if it is time for that.

        Raises:
            PkiError: if the ledger can't be written now.
        """
        now, monotonic = self._times()
        passed = timedelta(seconds=monotonic - self._began[1])
        if abs(now - self._began[0] - passed) > _DIFFER:
            self._began, self._bounds = (now, monotonic), None
            return
        if passed < SETTLED:
            return
        if self._bounds is None:
            self._bounds, self._cursor = PruneBounds.settled(self._context, self._keep), START
        if self._bounds is None:
            return
        for _ in range(_STEPS):
            step = prune_step(self._context, self._bounds, self._cursor)
            self.pruned += step.certificates
            if step.cursor is None:
                self._bounds = None
                return
            self._cursor = step.cursor

    def _times(self) -> tuple[datetime, float]:
        return self._context.now(), self._monotonic()
