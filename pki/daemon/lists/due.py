"""Notices which revocation lists are due, by the clock and not by a period.

A machine that was suspended, or whose clock was set, finds lists that are due, or that have ended,
while the period of the refresh task has hardly begun.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from pki.authority.publishing.refreshing import is_due, is_root_list_due
from pki.clock import Clock
from pki.daemon.trust_feed import TrustState
from pki.x509.revocation import IssuerId

_FIRST_PAUSE, _MOST_PAUSE = 1.0, 600.0


class DueLists:
    """Says when lists must be signed anew.

    A list that can't be signed, because its key is not there or the ledger is held, stays due. It
    is named again with growing pauses.

    Args:
        clock: returns the time.
        lifetime: of an issuing CA's list.
        monotonic: returns seconds that only grow.
    """

    def __init__(
        self,
        clock: Clock,
        lifetime: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._monotonic = monotonic
        self._named: frozenset[tuple[bytes, int]] = frozenset()
        self._named_at = float("-inf")
        self._pause = _FIRST_PAUSE

    def must_sign(self, state: TrustState) -> bool:
        """Return whether a list is due, and was not just named as due."""
        due, now = self._due(state), self._monotonic()
        if not due <= self._named:
            self._pause = _FIRST_PAUSE
        if not due or now < self._named_at + self._pause:
            return False
        self._pause = min(2 * self._pause, _MOST_PAUSE) if due <= self._named else _FIRST_PAUSE
        self._named, self._named_at = due, now
        return True

    def _due(self, state: TrustState) -> frozenset[tuple[bytes, int]]:
        """Return the due lists: the key id of each one's issuer, and its number."""
        now = self._clock()
        roots = {IssuerId.of_ca(root).key_id for root in state.bundle.all_roots()}
        return frozenset(
            (key_id, crl.number)
            for key_id, crl in state.crls.items()
            if (
                is_root_list_due(crl, now=now)
                if key_id in roots
                else is_due(crl, now=now, lifetime=self._lifetime)
            )
        )
