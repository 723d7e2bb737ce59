"""When the audit log's newest entries are told of: after each commit, or each few that follow."""

from __future__ import annotations

import threading
import time

from pki.authority.ledger.audit import AuditHead

_MOST_SECONDS = 0.25


class Telling:
    """What was committed and not told of yet; shared by all who have a ledger open in this process.

    While commits follow one another without a pause, one tells of those before it too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._head: AuditHead | None = None
        self._told_at = 0.0

    def due(self, head: AuditHead | None, *, follows: bool) -> AuditHead | None:
        """Return what is to be told now; None if it is nothing.

        Args:
            head: of the log after a commit; None if that added nothing, or failed.
            follows: whether another commit follows at once, and may tell of this one too.
        """
        with self._lock:
            newest = self._head
            if head is not None and (newest is None or newest.size < head.size):
                newest = self._head = head
            now = time.monotonic()
            if newest is None or (follows and now < self._told_at + _MOST_SECONDS):
                return None
            self._head, self._told_at = None, now
            return newest
