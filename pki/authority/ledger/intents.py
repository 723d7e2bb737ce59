"""Signatures that an external signer was, or was about to be, asked for.

An intent is committed before the signature, and removed by the commit that records the certificate.
What is left was perhaps signed and never handed out: its process died in between. Its serial number
is never used again, and can be revoked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from sqlalchemy import Row, delete, insert, select, update

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection
from pki.authority.ledger.rows import to_moment, to_seconds
from pki.errors import LedgerError

# Kept for longer than the certificate could be valid, because a clock may have been ahead.
_KEPT_AFTER_END = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SigningIntent:
    """A certificate that an external signer was about to sign.

    Args:
        serial: the serial number, in lower-case hex.
        issuer_id: the ledger's id of the CA certificate whose key signs.
        subject: who it is for: a SPIFFE ID, or the name of an issuing CA.
        names: all names in it.
        profile: the name of its profile.
        key_fingerprint: of its public key.
        tbs_sha256: the hash of what is signed.
        not_after: its end.
        planned_at: when it was planned.
        revoked_at: when its serial number was revoked; None if it was not.
    """

    serial: str
    issuer_id: int
    subject: str
    names: tuple[str, ...]
    profile: str
    key_fingerprint: str
    tbs_sha256: str
    not_after: datetime
    planned_at: datetime
    revoked_at: datetime | None = None


class IntentRecords:
    """The part of a transaction for the intents to sign."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection

    def add(self, intent: SigningIntent) -> None:
        """Record an intent, before its signature; forget those whose certificates have ended.

        Raises:
            LedgerError: if its serial number was used already.
        """
        table, used = tables.signing_intents, tables.certificates
        ended = to_seconds(intent.planned_at - _KEPT_AFTER_END)
        self._connection.execute(delete(table).where(table.c.not_after < ended))
        taken = self._connection.scalar(select(used.c.id).where(used.c.serial == intent.serial))
        if taken is not None or self.of_serial(intent.serial) is not None:
            raise LedgerError(f"serial number {intent.serial} was used already")
        self._connection.execute(
            insert(table).values(
                serial=intent.serial,
                issuer_id=intent.issuer_id,
                subject=intent.subject,
                names=json.dumps(intent.names),
                profile=intent.profile,
                key_fingerprint=intent.key_fingerprint,
                tbs_sha256=intent.tbs_sha256,
                not_after=to_seconds(intent.not_after),
                planned_at=to_seconds(intent.planned_at),
            )
        )

    def complete(self, certificate: x509.Certificate) -> bool:
        """Remove the intent of a certificate that is recorded now.

        Returns:
            Whether there was one that was not revoked; if not, nothing may be recorded.
        """
        table = tables.signing_intents
        done = self._connection.execute(
            delete(table)
            .where(table.c.serial == f"{certificate.serial_number:x}")
            .where(table.c.revoked_at.is_(None))
        )
        return done.rowcount == 1

    def all(self) -> tuple[SigningIntent, ...]:
        """Return the intents without a certificate, oldest first."""
        table = tables.signing_intents
        rows = self._connection.execute(select(table).order_by(table.c.planned_at, table.c.serial))
        return tuple(_intent_of_row(row) for row in rows)

    def of_serial(self, serial: str) -> SigningIntent | None:
        """Return the intent with a serial number (lower-case hex); None if there is none."""
        table = tables.signing_intents
        row = self._connection.execute(select(table).where(table.c.serial == serial)).one_or_none()
        return _intent_of_row(row) if row is not None else None

    def of_subject(self, subject: str, *, ends_after: datetime) -> tuple[SigningIntent, ...]:
        """Return the intents for a SPIFFE ID whose certificates would end later."""
        return tuple(
            item for item in self.all() if item.subject == subject and item.not_after >= ends_after
        )

    def mark_revoked(self, serials: Sequence[str], *, at: datetime) -> None:
        """Revoke intents: no certificate with these serial numbers is recorded any more."""
        table = tables.signing_intents
        self._connection.execute(
            update(table)
            .where(table.c.serial.in_(list(serials)))
            .where(table.c.revoked_at.is_(None))
            .values(revoked_at=to_seconds(at))
        )


def _intent_of_row(row: Row[Any]) -> SigningIntent:
    return SigningIntent(
        row.serial,
        row.issuer_id,
        row.subject,
        tuple(json.loads(row.names)),
        row.profile,
        row.key_fingerprint,
        row.tbs_sha256,
        to_moment(row.not_after),
        to_moment(row.planned_at),
        to_moment(row.revoked_at) if row.revoked_at is not None else None,
    )
