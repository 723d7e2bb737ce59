"""The order of revocations in the ledger, so that receivers can ask for those that they lack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection
from pki.authority.ledger.rows import to_moment, to_seconds


@dataclass(frozen=True, slots=True)
class LoggedRevocation:
    """A revocation, with its place in the order.

    Args:
        number: grows with each revocation.
        issuer_id: the ledger's id of the issuing CA.
        serial: the certificate's serial number.
        revoked_at: when.
        reason: as RFC 5280 writes it, e.g. ``keyCompromise``.
        not_after: the end of the certificate.
    """

    number: int
    issuer_id: int
    serial: int
    revoked_at: datetime
    reason: str
    not_after: datetime


class RevocationLog:
    """The part of a transaction that reads and writes the order of revocations."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection

    def append(self, certificate_ids: Iterable[int]) -> None:
        """Append revocations; those of certificates that were revoked before are left out."""
        chosen, log = list(certificate_ids), tables.revocation_log
        logged = select(log.c.certificate_id).where(log.c.certificate_id.in_(chosen))
        known = set(self._connection.scalars(logged))
        new = [{"certificate_id": item} for item in sorted(set(chosen) - known)]
        if new:
            self._connection.execute(insert(log), new)

    def newest(self) -> int:
        """Return the number of the newest revocation; 0 if there is none."""
        return int(self._connection.scalar(select(func.max(tables.revocation_log.c.id))) or 0)

    def since(
        self, number: int, *, ends_after: datetime, most: int
    ) -> tuple[LoggedRevocation, ...]:
        """Return the revocations after a number, in order.

        Args:
            number: 0 for all.
            ends_after: only those of certificates that end at this time or later.
            most: how many at most.
        """
        log, certificates = tables.revocation_log, tables.certificates
        query = (
            select(
                log.c.id,
                certificates.c.issuer_id,
                certificates.c.serial,
                certificates.c.revoked_at,
                certificates.c.reason,
                certificates.c.not_after,
            )
            .join(certificates, certificates.c.id == log.c.certificate_id)
            .where(log.c.id > number, certificates.c.not_after >= to_seconds(ends_after))
            .order_by(log.c.id)
            .limit(most)
        )
        return tuple(
            LoggedRevocation(
                row.id,
                row.issuer_id,
                int(row.serial, 16),
                to_moment(row.revoked_at),
                row.reason,
                to_moment(row.not_after),
            )
            for row in self._connection.execute(query)
        )
