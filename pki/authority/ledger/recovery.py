"""What the ledger holds of commits that it has lost: revocations, list numbers, and when."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from cryptography import x509
from sqlalchemy import Connection, delete, insert, select, update

from pki.authority.ledger import tables
from pki.x509.revocation import RevokedEntry


class RecoveryRecords:
    """The part of a transaction that an older copy of a ledger is made good with."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_unrecorded(self, issuer_id: int, entries: Iterable[RevokedEntry]) -> None:
        """Keep revocations of certificates that the ledger does not hold; each once."""
        known = {entry.serial for entry in self.unrecorded_of(issuer_id)}
        for entry in entries:
            if entry.serial not in known:
                self._connection.execute(
                    insert(tables.unrecorded_revocations).values(
                        issuer_id=issuer_id,
                        serial=f"{entry.serial:x}",
                        revoked_at=int(entry.revoked_at.timestamp()),
                        reason=entry.reason.value,
                    )
                )

    def unrecorded_of(self, issuer_id: int) -> tuple[RevokedEntry, ...]:
        """Return the revocations of an issuer's certificates that the ledger does not hold.

        Nothing tells when they end, so they stand on the list until their issuer ends.
        """
        table = tables.unrecorded_revocations
        rows = self._connection.execute(
            select(table).where(table.c.issuer_id == issuer_id).order_by(table.c.serial)
        )
        return tuple(
            RevokedEntry(
                int(row.serial, 16),
                datetime.fromtimestamp(row.revoked_at, tz=UTC),
                x509.ReasonFlags(row.reason),
            )
            for row in rows
        )

    def crl_floor(self, issuer_id: int) -> int:
        """Return the highest number that a lost list of an issuer may bear; 0 if none was lost."""
        table = tables.crl_floors
        found = self._connection.scalar(
            select(table.c.number).where(table.c.issuer_id == issuer_id)
        )
        return int(found or 0)

    def raise_crl_floor(self, issuer_id: int, number: int) -> None:
        """Let no list of an issuer bear this number or a lower one."""
        if number <= self.crl_floor(issuer_id):
            return
        table = tables.crl_floors
        self._connection.execute(delete(table).where(table.c.issuer_id == issuer_id))
        self._connection.execute(insert(table).values(issuer_id=issuer_id, number=number))

    def accepted_at(self) -> datetime | None:
        """Return when an older copy was accepted last; None if none ever was."""
        found = self._connection.scalar(select(tables.ledger_state.c.accepted_at))
        return datetime.fromtimestamp(found, tz=UTC) if found is not None else None

    def note_older(self, *, at: datetime) -> None:
        """Record that this ledger was found to be an older copy, and is gone on with."""
        self._connection.execute(
            update(tables.ledger_state).values(accepted_at=int(at.timestamp()))
        )

    def accept(self, *, sequence: int, at: datetime) -> None:
        """Make this ledger the newest one, under an id of its own.

        The one whose place it takes stays known as another, even if it is found again.
        """
        self._connection.execute(
            update(tables.ledger_state).values(
                ledger_id=secrets.token_hex(16), sequence=sequence, accepted_at=int(at.timestamp())
            )
        )
