"""Record what the CA refused.

1. A refusal undoes its operation's transaction, so its entry has a transaction of its own.
2. A refusal is raised to its caller whether or not it could be recorded: it grants nothing.
3. Strangers are refused as often as they like, and so are workloads without a role. So they get no
   entry each: :class:`RefusalSums` counts them, and yields one entry a minute, caller and reason.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from pki.authority.ledger import Ledger, Transaction
from pki.authority.ledger.audit import Actor, AuditAction, AuditEntry
from pki.authority.ledger.audit.entry import STRANGER, shorten
from pki.clock import Clock
from pki.errors import InputError, NotPermittedError, PkiError, WrongStepError

_log = logging.getLogger(__name__)
_REFUSALS = (NotPermittedError, InputError, WrongStepError)
_INTERVAL = timedelta(minutes=1)
_MOST_REASONS = 32
_OTHER = "other"
_OTHERS = Actor("others")


@contextmanager
def recorded_refusals(ledger: Ledger, entry: AuditEntry) -> Iterator[None]:
    """Record a refusal of the operation in this block, and raise it further.

    Args:
        ledger: the ledger; the block's own transaction has ended when the entry is recorded.
        entry: a refusal, but for its reason.
    """
    try:
        yield
    except _REFUSALS as error:
        refusal = error  # the other name ends with this clause
        try:
            ledger.run(lambda transaction: append_refusal(transaction, entry, refusal))
        except PkiError as failure:
            _log.warning("a refusal could not be recorded in the audit log: %s", failure)
        raise


def append_refusal(transaction: Transaction, entry: AuditEntry, error: PkiError) -> None:
    """Append a refusal of an operation, if the error is one: others are not about its caller."""
    if isinstance(error, _REFUSALS):
        transaction.audit.append(replace(entry, reason=shorten(error.message)))


class RefusalSums:
    """Counts the refusals of many; its memory and the log's growth are bounded.

    Args:
        clock: returns the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[tuple[Actor, str]] = Counter()
        self._since: datetime | None = None

    def count(self, reason: str, actor: Actor = STRANGER) -> None:
        """Count a refusal.

        Args:
            reason: a code of the CA's own, never a text of the caller's. After 32 different ones
                within a minute, the others are counted together.
            actor: who was refused. Only a name that a handshake has proved, else a stranger.
        """
        with self._lock:
            if self._since is None:
                self._since = self._clock()
            known = (actor, reason) in self._counts or len(self._counts) < _MOST_REASONS
            other = (actor if actor == STRANGER else _OTHERS, _OTHER)
            self._counts[(actor, reason) if known else other] += 1

    def take_due(self, *, at_end: bool = False) -> tuple[AuditEntry, ...]:
        """Return the entries for a minute that is over, and begin a new one.

        The caller appends all of them in one transaction. If that fails, :meth:`put_back` keeps the
        counts for the next time.

        Args:
            at_end: return what was counted, though the minute is not over: the service ends.
        """
        with self._lock:
            now = self._clock()
            if self._since is None or (abs(now - self._since) < _INTERVAL and not at_end):
                return ()
            since = int(self._since.timestamp())
            counts, self._counts, self._since = self._counts, Counter(), None
        return tuple(
            AuditEntry(
                AuditAction.REFUSE_MANY,
                now,
                actor,
                reason=reason,
                details={"count": count, "since": since},
            )
            for (actor, reason), count in sorted(
                counts.items(), key=lambda item: (item[0][0].name, item[0][1])
            )
        )

    def put_back(self, entries: tuple[AuditEntry, ...]) -> None:
        """Count again what could not be recorded."""
        with self._lock:
            for entry in entries:
                count, since = entry.details["count"], entry.details["since"]
                assert isinstance(count, int)
                assert isinstance(since, int)
                assert entry.reason is not None
                began = datetime.fromtimestamp(since, tz=entry.at.tzinfo)
                self._since = min(self._since or began, began)
                self._counts[entry.actor, entry.reason] += count
