"""Prune the ledger in small steps: each is one commit, with its entry in the audit log.

What else refers to a pruned certificate stays right. A renewal of it is one of the last certificate
before it that is still there, so that a revocation finds all that came of that one. Claims to names
hang on no certificate, and stay. So do the keys of leaves, whether they leaked or not: a key
belongs to one workload for good. The entries and tiles of the audit log are not pruned.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, exists, select, update

from pki.authority.audit.pruned import note_pruned
from pki.authority.context import AuthorityContext
from pki.authority.ledger import Transaction, tables
from pki.authority.ledger.audit import AuditAction
from pki.authority.lifetimes import MAX_LEAF, duration_text
from pki.authority.pruning.candidates import Candidates, choose
from pki.authority.pruning.settled_time import settled_time
from pki.durations import parse_duration
from pki.errors import InputError

DEFAULT_KEEP = timedelta(days=30)
AT_ONCE = 200
"""How many certificates a step looks at: it holds the ledger for some hundredths of a second."""
START = (0, 0)


@dataclass(frozen=True, slots=True)
class PruneStep:
    """The result of a step.

    Args:
        certificates: how many were pruned.
        lines: how many lines of certificates were.
        cursor: where the next step begins; None if there is nothing more to look at.
    """

    certificates: int
    lines: int
    cursor: tuple[int, int] | None


def check_keep(keep: timedelta) -> None:
    """Check for how long ended certificates shall be kept.

    Raises:
        InputError: if it is less than a leaf may live.
    """
    if keep < MAX_LEAF:
        raise InputError(
            f"certificates can't be pruned {duration_text(keep)} after their end",
            remedy=f"Keep them for {duration_text(MAX_LEAF)} or more",
        )


def parse_keep(text: str) -> timedelta:
    """Parse for how long certificates are kept after their end, e.g. ``30d``.

    Raises:
        InputError: if it is no duration, or less than a leaf may live.
    """
    keep = parse_duration(text)
    check_keep(keep)
    return keep


@dataclass(frozen=True, slots=True)
class PruneBounds:
    """Up to when is pruned.

    Args:
        horizon: what ended before it is pruned; the longest lifetime of a leaf ago or earlier.
        now: the present time.
    """

    horizon: datetime
    now: datetime

    @classmethod
    def settled(cls, context: AuthorityContext, keep: timedelta) -> PruneBounds | None:
        """Return them by the time that the audit log confirms, whatever the clock says.

        Args:
            context: the CA.
            keep: how long after its end a certificate is kept.

        Returns:
            The bounds; None if the log confirms no time yet.
        """
        with context.ledger.snapshot() as transaction:
            now = settled_time(transaction, now=context.now())
        return None if now is None else cls(now - keep, now)


def prune_step(
    context: AuthorityContext, bounds: PruneBounds, cursor: tuple[int, int] = START
) -> PruneStep:
    """Prune some of the certificates that ended before a time.

    Args:
        context: the CA.
        bounds: up to when.
        cursor: where the step before ended.

    Raises:
        InputError: if the horizon is later than that.
        LedgerError: if the ledger can't be written now; then nothing was pruned.
    """
    now, horizon = bounds.now, bounds.horizon.replace(microsecond=0)
    check_keep(now - horizon)
    with context.ledger.transaction() as transaction:
        found = choose(
            transaction,
            horizon=horizon,
            now=now,
            list_lifetime=context.settings.crl_lifetime,
            after=cursor,
            most=AT_ONCE,
        )
        if not found.chosen:
            return PruneStep(0, 0, found.cursor)
        lines = _prune(transaction, found)
        note_pruned(transaction.connection, horizon)
        transaction.audit.append(
            context.audit_entry(
                AuditAction.PRUNE,
                before=int(horizon.timestamp()),
                certificates=len(found.chosen),
                lines=lines,
            )
        )
    return PruneStep(len(found.chosen), lines, found.cursor)


def _prune(transaction: Transaction, found: Candidates) -> int:
    connection = transaction.connection
    _prune_certificates(connection, {item.id: item.renewed_from for item in found.chosen})
    return _prune_lines(connection, found.ended_lines)


def _prune_certificates(connection: Connection, renewed_from: Mapping[int, int | None]) -> None:
    """Delete certificates, and let their renewals be those of what is still there.

    Args:
        connection: of the ledger.
        renewed_from: the id of each, with that of the one that it renewed.
    """
    table, ids = tables.certificates, list(renewed_from)
    children = connection.execute(
        select(table.c.id, table.c.renewed_from).where(
            table.c.renewed_from.in_(ids), table.c.id.not_in(ids)
        )
    ).all()
    links = {row.id: row.renewed_from for row in children}
    for child, parent in links.items():
        earlier: int | None = parent
        while earlier is not None and earlier in renewed_from:
            earlier = renewed_from[earlier]
        links[child] = earlier
    connection.execute(update(table).where(table.c.id.in_(links)).values(renewed_from=None))
    for other in (tables.used_proofs, tables.recoveries, tables.revocation_log):
        connection.execute(delete(other).where(other.c.certificate_id.in_(ids)))
    events = tables.events
    connection.execute(
        update(events).where(events.c.certificate_id.in_(ids)).values(certificate_id=None)
    )
    connection.execute(delete(table).where(table.c.id.in_(ids)))
    for child, earlier in links.items():
        if earlier is not None:
            connection.execute(
                update(table).where(table.c.id == child).values(renewed_from=earlier)
            )


def _prune_lines(connection: Connection, line_ids: Collection[str]) -> int:
    """Delete lines without certificates; those with recovery keys, or blocked, stay known."""
    lines = tables.lines
    unused = [
        ~exists().where(other.c.line_id == lines.c.id)
        for other in (tables.certificates, tables.recoveries, tables.retired_recovery_keys)
    ]
    deleted = connection.execute(
        delete(lines).where(
            lines.c.id.in_(line_ids),
            lines.c.recovery_key.is_(None),
            lines.c.blocked_at.is_(None),
            *unused,
        )
    )
    return int(deleted.rowcount)
