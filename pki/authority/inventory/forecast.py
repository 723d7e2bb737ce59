"""What is to come: how many certificates end, and how many are renewed, step by step.

A workload renews in the middle of its certificate's life, between 40 and 60 % of it. One that was
renewed already is not counted again; one that should have been is ``overdue``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, literal, select

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
    number = -(-(end - begin) // width) if width > 0 else 0
    if not 0 < number <= MOST_STEPS:
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

    def counts(moment: ColumnElement[int]) -> dict[int, int]:
        place = ((moment - begin) // literal(width)).label("place")
        query = (
            select(place, func.count()).where(is_due, moment >= begin, moment < end).group_by(place)
        )
        return {int(item): number for item, number in transaction.connection.execute(query)}

    renewals, expiries = counts(middle), counts(table.c.not_after)
    # 60 % of the life, in whole numbers.
    latest = (table.c.issued_at * literal(2) + table.c.not_after * literal(3)) // literal(5)
    good = transaction.connection.scalar(select(func.count()).where(is_due))
    overdue = transaction.connection.scalar(select(func.count()).where(is_due, latest < begin))
    steps = tuple(
        ForecastStep(now + place * step, renewals.get(place, 0), expiries.get(place, 0))
        for place in range(number)
    )
    return Forecast(int(good or 0), int(overdue or 0), steps)
