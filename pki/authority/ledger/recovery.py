"""What the ledger knows about commits that it has lost: revocations, CRL numbers, and when."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from cryptography import x509
from sqlalchemy import delete, insert, select, update

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection
from pki.x509.revocation import RevokedEntry


class RecoveryRecords:
    """The part of a transaction for the recovery of an older copy of the ledger."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection

    def add_unrecorded(self, issuer_id: int, entries: Iterable[RevokedEntry]) -> None:
        """Record revocations of certificates that the ledger does not hold, each once."""
        recorded = {entry.serial for entry in self.unrecorded_of(issuer_id)}
        for entry in entries:
            if entry.serial not in recorded:
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

        The ends of these certificates are unknown, so the entries stay on the CRL until the issuer
        ends.
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
        """Return the highest number that a lost CRL of an issuer may have; 0 if none was lost."""
        table = tables.crl_floors
        number = self._connection.scalar(
            select(table.c.number).where(table.c.issuer_id == issuer_id)
        )
        return int(number or 0)

    def raise_crl_floor(self, issuer_id: int, number: int) -> None:
        """Reserve all CRL numbers of an issuer up to this one, for CRLs that may be lost."""
        if number <= self.crl_floor(issuer_id):
            return
        table = tables.crl_floors
        self._connection.execute(delete(table).where(table.c.issuer_id == issuer_id))
        self._connection.execute(insert(table).values(issuer_id=issuer_id, number=number))

    def accepted_at(self) -> datetime | None:
        """Return when an older copy was accepted last; None if never."""
        seconds = self._connection.scalar(select(tables.ledger_state.c.accepted_at))
        return datetime.fromtimestamp(seconds, tz=UTC) if seconds is not None else None

    def restored_at(self) -> datetime | None:
        """Return when this ledger was restored from a backup; None if never."""
        seconds = self._connection.scalar(select(tables.ledger_state.c.restored_at))
        return datetime.fromtimestamp(seconds, tz=UTC) if seconds is not None else None

    def note_restored(self, *, at: datetime) -> None:
        """Record that this ledger was restored from a backup."""
        self._connection.execute(
            update(tables.ledger_state).values(restored_at=int(at.timestamp()))
        )

    def note_older(self, *, at: datetime) -> None:
        """Record that this ledger is an older copy and is used from now on."""
        self._connection.execute(
            update(tables.ledger_state).values(accepted_at=int(at.timestamp()))
        )

    def accept(self, *, sequence: int, at: datetime) -> None:
        """Make this ledger the newest one, with a new id.

        The ledger that it replaces is refused as another ledger if it is found again.
        """
        self._connection.execute(
            update(tables.ledger_state).values(
                ledger_id=secrets.token_hex(16), sequence=sequence, accepted_at=int(at.timestamp())
            )
        )
