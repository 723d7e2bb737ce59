"""What the ledger holds of rotations: signed bundles, reports of workloads, a root's request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, func, insert, select

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection
from pki.authority.ledger.rows import to_moment, to_seconds
from pki.errors import LedgerError
from pki.x509.bundle_chain import SignedBundle

# The certificate of an older report has ended: no leaf lives longer than a day.
_KEPT = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """A signed trust bundle in the ledger.

    Args:
        bundle: the bundle.
        last_certificate: the id of the last certificate that was issued before it. Every later one
            was handed out together with this bundle or a newer one.
        recorded_at: when it was recorded.
    """

    bundle: SignedBundle
    last_certificate: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class TrustReport:
    """What a workload said that it uses.

    Args:
        serial: of the certificate that it uses, in lower-case hex.
        spiffe_id: the workload.
        bundle_number: of the newest trust bundle that it trusts.
        reported_at: when it said so.
    """

    serial: str
    spiffe_id: str
    bundle_number: int
    reported_at: datetime


class RotationRecords:
    """The part of a transaction for bundles, reports and the request that waits for a root."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection

    def add_bundle(self, bundle: SignedBundle, *, now: datetime) -> None:
        """Record the bundle after the newest one; it was verified before.

        Raises:
            LedgerError: if it does not follow the newest one.
        """
        newest = self.newest_bundle()
        expected = newest.bundle.number + 1 if newest is not None else 1
        if bundle.number != expected:
            raise LedgerError(
                f"trust bundle {bundle.number} is not the next one, {expected}",
                remedy="Make a new request for the root, and sign it",
            )
        last = self._connection.scalar(select(func.max(tables.certificates.c.id)))
        self._connection.execute(
            insert(tables.bundles).values(
                number=bundle.number,
                bundle=bundle.encode(),
                last_certificate=last or 0,
                recorded_at=to_seconds(now),
            )
        )

    def bundles(self, *, since: int = 0, most: int | None = None) -> tuple[BundleRecord, ...]:
        """Return the bundles with higher numbers, in order.

        Args:
            since: the number of a bundle.
            most: how many to return at most.
        """
        table = tables.bundles
        query = select(table).where(table.c.number > since).order_by(table.c.number).limit(most)
        return tuple(
            BundleRecord(
                SignedBundle.read(row.bundle), row.last_certificate, to_moment(row.recorded_at)
            )
            for row in self._connection.execute(query)
        )

    def newest_bundle(self) -> BundleRecord | None:
        """Return the newest bundle; None before the first."""
        number = self.newest_bundle_number()
        return self.bundles(since=number - 1)[0] if number else None

    def newest_bundle_number(self) -> int:
        """Return the number of the newest bundle; 0 before the first."""
        return self._connection.scalar(select(func.max(tables.bundles.c.number))) or 0

    def bundle_number_before(self, certificate_id: int) -> int:
        """Return the number of the newest bundle that is older than a certificate; 0 for none."""
        table = tables.bundles
        query = select(func.max(table.c.number)).where(table.c.last_certificate < certificate_id)
        return self._connection.scalar(query) or 0

    def put_report(self, report: TrustReport) -> None:
        """Record a report in place of the earlier one for the same certificate."""
        table = tables.trust_reports
        oldest = to_seconds(report.reported_at - _KEPT)
        self._connection.execute(
            delete(table).where((table.c.serial == report.serial) | (table.c.reported_at < oldest))
        )
        self._connection.execute(
            insert(table).values(
                serial=report.serial,
                spiffe_id=report.spiffe_id,
                bundle_number=report.bundle_number,
                reported_at=to_seconds(report.reported_at),
            )
        )

    def reports(self) -> tuple[TrustReport, ...]:
        """Return the newest report for each certificate."""
        return tuple(map(_report, self._connection.execute(select(tables.trust_reports))))

    def report_of(self, serial: str) -> TrustReport | None:
        """Return the newest report for a certificate; None if there is none."""
        query = select(tables.trust_reports).where(tables.trust_reports.c.serial == serial)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else _report(row)

    def put_request(self, digest: str, request: bytes, *, now: datetime) -> None:
        """Record the request that waits for a root's answer, in place of an earlier one."""
        self._connection.execute(delete(tables.root_requests))
        self._connection.execute(
            insert(tables.root_requests).values(
                digest=digest, request=request, made_at=to_seconds(now)
            )
        )

    def newest_request(self) -> bytes | None:
        """Return the newest request for a root's answer, if it has ended too; None before it."""
        request: bytes | None = self._connection.scalar(select(tables.root_requests.c.request))
        return request


def _report(row: Row[Any]) -> TrustReport:
    return TrustReport(row.serial, row.spiffe_id, row.bundle_number, to_moment(row.reported_at))
