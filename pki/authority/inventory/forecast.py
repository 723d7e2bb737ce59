"""What is to come: how many certificates end, and how many are renewed, step by step.

A workload renews in the middle of its certificate's life, between 40 and 60 % of it. One that was
renewed already is not counted again; one that should have been is ``overdue``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Label, and_, case, func, literal, select

from pki.authority.ledger import Transaction, tables
from pki.authority.ledger.hierarchy import is_usable
from pki.authority.ledger.rows import to_seconds
from pki.errors import InputError

MOST_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class ForecastStep:
    """One step of a forecast.

    Args:
        begins: when it begins.
        renewals: how many certificates are expected to be renewed in it.
        expiries: how many end in it, and were not renewed or revoked.
    """

    begins: datetime
    renewals: int
    expiries: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast.

    Args:
        good: how many certificates are good now, and were not renewed.
        overdue: how many of these should have been renewed by now.
        steps: what is to come.
    """

    good: int
    overdue: int
    steps: Sequence[ForecastStep]


def forecast(
    transaction: Transaction, *, now: datetime, until: datetime, step: timedelta
) -> Forecast:
    """Return how many certificates end and are renewed until a time.

    Args:
        transaction: of the ledger.
        now: the time.
        until: the end.
        step: how long a step is; the last one may be shorter.

    Raises:
        InputError: if a step is shorter than a second, or there are more than 10,000.
    """
    begin, end, width = to_seconds(now), to_seconds(until), int(step.total_seconds())
    steps_ahead = -(-(end - begin) // width) if width > 0 else 0
    if not 0 < steps_ahead <= MOST_STEPS:
        raise InputError(
            f"a forecast has 1 to {MOST_STEPS} steps of a second at least", remedy="Choose others"
        )
    table, renewed = tables.certificates, tables.certificates.alias("renewed")
    ended = [item.id for item in transaction.issuers() if not is_usable(item)]
    is_due = and_(
        table.c.not_after >= begin,
        table.c.revoked_at.is_(None),
        table.c.issuer_id.not_in(ended),
        ~select(renewed.c.id).where(renewed.c.renewed_from == table.c.id).exists(),
    )
    middle = (table.c.issued_at + table.c.not_after) // literal(2)
    # 60 % of the life, in whole numbers.
    latest = (table.c.issued_at * literal(2) + table.c.not_after * literal(3)) // literal(5)

    def place(moment: ColumnElement[int], name: str) -> Label[int]:
        """Return the step that a moment lies in; -1 if it lies in none."""
        is_within = and_(moment >= begin, moment < end)
        return case((is_within, (moment - begin) // literal(width)), else_=-1).label(name)

    renewal, expiry = place(middle, "renewal"), place(table.c.not_after, "expiry")
    is_overdue = (latest < begin).label("is_overdue")
    # One pass: a million rows are read once.
    query = (
        select(renewal, expiry, is_overdue, func.count())
        .where(is_due)
        .group_by(renewal, expiry, is_overdue)
    )
    renewals, expiries = Counter[int](), Counter[int]()
    good = overdue = 0
    for renewed_in, ends_in, is_late, count in transaction.connection.execute(query):
        renewals[int(renewed_in)] += count
        expiries[int(ends_in)] += count
        good += count
        overdue += count if is_late else 0
    steps = tuple(
        ForecastStep(now + number * step, renewals[number], expiries[number])
        for number in range(steps_ahead)
    )
    return Forecast(good, overdue, steps)
