"""The time that pruning believes: the clock's, only as far as the audit log has seen it pass.

A clock that is far ahead would prune what has not ended, and forget what could be used once more.
What the log's entries say of the time was said by the clock as it went then, so a jump since the
last of them is nothing to go by. An entry of the last hour counts for nothing either: a clock that
has jumped just now may have dated it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pki.authority.ledger import Transaction
from pki.authority.ledger.audit import AuditEntry

SETTLED = timedelta(hours=1)
"""How old what shows the time must be, and for how long a service watches its own clock."""


def settled_time(transaction: Transaction, *, now: datetime) -> datetime | None:
    """Return the time of the newest entry of the audit log that is an hour old; None without one.

    Args:
        transaction: of the ledger.
        now: the clock's time.

    Raises:
        InputError: if the log is damaged.
    """
    log = transaction.audit
    found: datetime | None = None
    begin, end = 0, log.head().size
    # Where the clock once went back, an older one may be found, which is as good.
    while begin < end:
        middle = (begin + end) // 2
        text = log.entry(middle)
        at = None if text is None else AuditEntry.parse(text).at
        if at is not None and at <= now - SETTLED:
            found, begin = at, middle + 1
        else:
            end = middle
    return found
