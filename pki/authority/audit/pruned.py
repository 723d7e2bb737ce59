"""How far the ledger was pruned, and whether a certificate was in it before that."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from pki.authority.ledger import Transaction, tables
from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.authority.ledger.rows import to_moment, to_seconds
from pki.authority.lifetimes import MAX_LEAF

ISSUING = frozenset({AuditAction.ISSUE, AuditAction.RENEW})


def pruned_before(connection: Connection) -> datetime | None:
    """Return the time before which certificates ended that may be pruned; None if none was."""
    seconds = connection.scalar(select(tables.ledger_state.c.pruned_before))
    return None if seconds is None else to_moment(seconds)


def note_pruned(connection: Connection, before: datetime) -> None:
    """Record how far the ledger was pruned; it never goes back."""
    known = pruned_before(connection)
    if known is None or known < before:
        connection.execute(update(tables.ledger_state).values(pruned_before=to_seconds(before)))


def may_be_pruned(issued: AuditEntry, before: datetime) -> bool:
    """Return whether a certificate, by the entry that issued it, had ended before a time."""
    return issued.at + MAX_LEAF < before


def is_pruned(transaction: Transaction, serial: str) -> bool:
    """Return whether a certificate (serial number in lower-case hex) was issued, and pruned."""
    before = pruned_before(transaction.connection)
    if before is None or transaction.certificate_by_serial(serial) is not None:
        return False
    entries = (AuditEntry.parse(text) for _, text in transaction.audit.entries_about(serial))
    return any(item.action in ISSUING and may_be_pruned(item, before) for item in entries)
