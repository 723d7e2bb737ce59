"""Choose certificates that may be pruned, some at a time.

A certificate may be pruned once it ended before the horizon, and was issued a whole longest
lifetime before it, so that the audit log alone tells that it has ended. Never before:

1. A revoked one stays while a list must still show it: for the lifetime of a list after its end,
   and as long as its issuer's present list holds it.
2. Of each line, the first and the newest certificate stay until all of the line have ended. They
   say with what the line began and what it may recover from. A line with a recovery key has a year
   more, because it may recover after so long a sleep.
3. One that was obtained by a recovery is counted for a year. One that was handed out for a proof
   stays while that proof could be shown again.
4. What the ledger held before its audit log began stays: the log's first entry holds its hash.
5. The newest certificate, and the newest revocation, stay: their numbers are never used again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, func, or_, select, tuple_

from pki.authority.ledger import Transaction, tables
from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.authority.ledger.hierarchy import is_usable
from pki.authority.ledger.rows import to_seconds
from pki.authority.lifetimes import MAX_LEAF
from pki.authority.registrations.registration import MAX_PERIOD

_PROOF_KEPT = timedelta(days=1)  # as long as uses of proofs are, in case a clock jumps back
_table = tables.certificates


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate that ended before the horizon.

    Args:
        id: the ledger's.
        not_after: its end, in seconds since 1970.
        line_id: its line.
        renewed_from: the id of the one that it renewed; None if it renewed none.
        is_inner: whether the line has an earlier and a later one.
    """

    id: int
    not_after: int
    line_id: str
    renewed_from: int | None
    is_inner: bool


@dataclass(frozen=True, slots=True)
class Candidates:
    """Some certificates that were looked at, in the order of their ends.

    Args:
        chosen: those that may be pruned.
        ended_lines: the lines of them that have ended altogether.
        cursor: where to go on; None at the end.
    """

    chosen: tuple[Candidate, ...]
    ended_lines: frozenset[str]
    cursor: tuple[int, int] | None


def choose(
    transaction: Transaction,
    *,
    horizon: datetime,
    now: datetime,
    list_lifetime: timedelta,
    after: tuple[int, int],
    most: int,
) -> Candidates:
    """Look at the next certificates that ended before a time, and choose what may be pruned.

    Args:
        transaction: of the ledger.
        horizon: the time.
        now: the present time.
        list_lifetime: of an issuing CA's revocation list.
        after: the end and the id of the last one that was looked at; zeros at the beginning.
        most: how many to look at.
    """
    connection = transaction.connection
    found = _ended(transaction, horizon, now - list_lifetime, after=after, most=most)
    cursor = (found[-1].not_after, found[-1].id) if len(found) == most else None
    kept = _kept(connection, found, now=now) | _listed(transaction, found, now=now)
    free = [item for item in found if item.id not in kept]
    ended = _ended_lines(
        connection, {item.line_id for item in free if not item.is_inner}, horizon, now=now
    )
    chosen = tuple(item for item in free if item.is_inner or item.line_id in ended)
    return Candidates(chosen, ended, cursor)


def _ended(
    transaction: Transaction,
    horizon: datetime,
    unlisted: datetime,
    *,
    after: tuple[int, int],
    most: int,
) -> list[Candidate]:
    other = _table.alias("other")
    of_line = select(other.c.id).where(other.c.line_id == _table.c.line_id).limit(1)
    first = of_line.order_by(other.c.id).scalar_subquery()
    last = of_line.order_by(other.c.id.desc()).scalar_subquery()
    inner: ColumnElement[bool] = (first < _table.c.id) & (_table.c.id < last)
    query = (
        select(_table.c.id, _table.c.not_after, _table.c.line_id, _table.c.renewed_from, inner)
        .where(
            _table.c.not_after < to_seconds(horizon),
            _table.c.issued_at < to_seconds(horizon - MAX_LEAF),
            _table.c.id > _begun_with(transaction),
            tuple_(_table.c.not_after, _table.c.id) > tuple_(*after),
            or_(_table.c.revoked_at.is_(None), _table.c.not_after < to_seconds(unlisted)),
        )
        .order_by(_table.c.not_after, _table.c.id)
        .limit(most)
    )
    rows = transaction.connection.execute(query)
    return [Candidate(*row) for row in rows]


def _begun_with(transaction: Transaction) -> int:
    """Return the highest id of a certificate from before the audit log."""
    text = transaction.audit.entry(0)
    entry = None if text is None else AuditEntry.parse(text)
    if entry is None or entry.action is not AuditAction.BEGIN:
        return 0
    begun = entry.details.get("certificates")
    assert isinstance(begun, int)
    return begun


def _kept(connection: Connection, found: Sequence[Candidate], *, now: datetime) -> frozenset[int]:
    ids = [item.id for item in found]
    recoveries, used, log = tables.recoveries, tables.used_proofs, tables.revocation_log
    kept = {
        *connection.scalars(
            select(recoveries.c.certificate_id).where(
                recoveries.c.certificate_id.in_(ids),
                recoveries.c.at >= to_seconds(now - MAX_PERIOD),
            )
        ),
        *connection.scalars(
            select(used.c.certificate_id).where(
                used.c.certificate_id.in_(ids),
                used.c.kept_until >= to_seconds(now - _PROOF_KEPT),
            )
        ),
        *connection.scalars(select(log.c.certificate_id).order_by(log.c.id.desc()).limit(1)),
        connection.scalar(select(func.max(_table.c.id))),
    }
    return frozenset(kept)


def _listed(
    transaction: Transaction, found: Iterable[Candidate], *, now: datetime
) -> frozenset[int]:
    """Return those that the present list of an issuer in use still shows."""
    revoked = transaction.connection.execute(
        select(_table.c.id, _table.c.serial, _table.c.issuer_id).where(
            _table.c.id.in_([item.id for item in found]), _table.c.revoked_at.is_not(None)
        )
    ).all()
    if not revoked:
        return frozenset()
    lists = {
        issuer.id: crl.revoked
        for issuer in transaction.issuers()
        if is_usable(issuer)
        and issuer.certificate.not_valid_after_utc >= now
        and (crl := transaction.crls.current_list(issuer.id)) is not None
    }
    return frozenset(
        row.id for row in revoked if int(row.serial, 16) in lists.get(row.issuer_id, frozenset())
    )


def _ended_lines(
    connection: Connection, line_ids: Collection[str], horizon: datetime, *, now: datetime
) -> frozenset[str]:
    lines = tables.lines
    with_key = select(lines.c.id).where(lines.c.id.in_(line_ids), lines.c.recovery_key.is_not(None))
    may_recover = set(connection.scalars(with_key))
    alive = _with_later(connection, line_ids, horizon)
    alive |= _with_later(connection, may_recover, min(horizon, now - MAX_PERIOD))
    return frozenset(line_ids) - alive


def _with_later(connection: Connection, line_ids: Collection[str], end: datetime) -> frozenset[str]:
    """Return the lines with a certificate that ends at a time or later."""
    query = select(_table.c.line_id).where(
        _table.c.line_id.in_(line_ids), _table.c.not_after >= to_seconds(end)
    )
    return frozenset(connection.scalars(query.distinct()))
