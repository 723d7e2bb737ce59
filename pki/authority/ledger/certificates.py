"""The certificates in the ledger: issued, renewed, revoked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from sqlalchemy import ColumnElement, Connection, Row, Select, insert, select, update

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection, Values
from pki.authority.ledger.batching.inserts import Inserts
from pki.authority.ledger.batching.lookups import Lookup, LookupQuery
from pki.authority.ledger.batching.needs import Needs
from pki.authority.ledger.keys import KeyRecords
from pki.authority.ledger.lines import LineRecords
from pki.authority.ledger.records import CertificateRecord, NewCertificate
from pki.authority.ledger.revocations import RevocationLog
from pki.authority.ledger.rows import der_of, record_of_row, to_moment, to_seconds
from pki.x509.revocation import RevokedEntry

# Made once: each certificate runs them.
_OF_SERIAL = LookupQuery(tables.certificates, "serial")
_OF_ID = LookupQuery(tables.certificates, "id")
_RENEWALS = LookupQuery(tables.certificates, "renewed_from")
_OF_KEY = LookupQuery(tables.certificates, "key_fingerprint", tables.certificates.c.id)
_INSERTS = Inserts(
    tables.certificates,
    (
        "issuer_id",
        "serial",
        "spiffe_id",
        "profile",
        "certificate",
        "key_fingerprint",
        "not_before",
        "not_after",
        "issued_at",
        "renewed_from",
        "line_id",
    ),
    rank=1,
)


class CertificateRecords:
    """The part of a transaction that reads and writes certificates."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection
        self._of_key = Lookup(connection, _OF_KEY)
        self._of_serial = Lookup(connection, _OF_SERIAL)
        self._of_id = Lookup(connection, _OF_ID)
        self._renewals = Lookup(connection, _RENEWALS)
        self.keys = KeyRecords(connection)
        self.lines = LineRecords(connection)

    @property
    def connection(self) -> Connection:
        """For reports, which read alone."""
        return self._connection.plain()

    def read_certificates_ahead(self, needs: Needs) -> None:
        """Read the certificates that steps will ask for, what renewed them, and their lines."""
        self._of_key.read_ahead(key.fingerprint for key in needs.keys)
        self._of_serial.read_ahead(needs.serials)
        rows = [row for serial in needs.serials for row in self._of_serial.of(serial)]
        for row in rows:
            self._of_id.keep(row.id, row)
        self._renewals.read_ahead(row.id for row in rows)
        self.lines.read_lines_ahead(row.line_id for row in rows)

    @property
    def revocations(self) -> RevocationLog:
        """The order of revocations."""
        return RevocationLog(self._connection)

    def add_certificate(self, new: NewCertificate) -> None:
        """Record an issued certificate."""
        self._of_key.forget(new.key_fingerprint)
        self._of_serial.forget(new.serial)
        self._renewals.forget(new.renewed_from)
        self._connection.add(_INSERTS, _row_of(new))

    def certificate_by_serial(self, serial: str) -> CertificateRecord | None:
        """Return the certificate with a serial number (lower-case hex); None if there is none."""
        return _one(self._of_serial.of(serial))

    def certificate_by_id(self, certificate_id: int) -> CertificateRecord | None:
        """Return the certificate with the ledger's id; None if there is none."""
        return _one(self._of_id.of(certificate_id))

    def renewal_of(self, certificate_id: int) -> CertificateRecord | None:
        """Return the certificate that renewed this one; None if there is none."""
        return _one(self._renewals.of(certificate_id))

    def certificates(
        self, *, ends_after: datetime | None = None, ends_before: datetime | None = None
    ) -> tuple[CertificateRecord, ...]:
        """Return issued certificates, oldest first."""
        query = select(tables.certificates).order_by(tables.certificates.c.id)
        if ends_after is not None:
            query = query.where(tables.certificates.c.not_after >= to_seconds(ends_after))
        if ends_before is not None:
            query = query.where(tables.certificates.c.not_after < to_seconds(ends_before))
        return self._many(query)

    def certificates_of_key(self, fingerprint: str) -> tuple[CertificateRecord, ...]:
        """Return every certificate of exactly this key, oldest first."""
        return tuple(map(record_of_row, self._of_key.of(fingerprint)))

    def certificates_of_keys(self, fingerprints: Iterable[str]) -> tuple[CertificateRecord, ...]:
        """Return every certificate of these keys and of all keys that the same secrets yield."""
        same = self.keys.of_same_secrets(fingerprints)
        query = (
            select(tables.certificates)
            .where(tables.certificates.c.key_fingerprint.in_(same))
            .order_by(tables.certificates.c.id)
        )
        return self._many(query)

    def certificates_of_workload(
        self, spiffe_id: str, *, ends_after: datetime
    ) -> tuple[CertificateRecord, ...]:
        """Return every certificate of a workload that ends later, oldest first."""
        return self._many(
            select(tables.certificates)
            .where(tables.certificates.c.spiffe_id == spiffe_id)
            .where(tables.certificates.c.not_after >= to_seconds(ends_after))
            .order_by(tables.certificates.c.id)
        )

    def certificates_with_serial(self, prefix: str) -> tuple[CertificateRecord, ...]:
        """Return every certificate whose serial number (lower-case hex) begins so, oldest first."""
        column = tables.certificates.c.serial
        query = select(tables.certificates).where(column.startswith(prefix, autoescape=True))
        return self._many(query.order_by(tables.certificates.c.id))

    def mark_revoked(self, ids: Iterable[int], *, at: datetime, reason: str) -> None:
        """Revoke certificates; one that is revoked already keeps its time and reason."""
        ids = list(ids)
        self.revocations.append(ids)
        self._connection.execute(
            update(tables.certificates)
            .where(tables.certificates.c.id.in_(ids))
            .where(tables.certificates.c.revoked_at.is_(None))
            .values(revoked_at=to_seconds(at), reason=reason)
        )

    def revoked_of(self, issuer_id: int, *, ends_after: datetime) -> tuple[RevokedEntry, ...]:
        """Return what an issuer's CRL must hold: its revoked certificates that end later."""
        column = tables.certificates.c
        query = (
            select(column.serial, column.revoked_at, column.reason)
            .where(*_revoked_of(issuer_id, ends_after))
            .order_by(column.id)
        )
        return tuple(
            RevokedEntry(
                int(row.serial, 16),
                to_moment(row.revoked_at),
                # Without a reason it is revoked all the same.
                x509.ReasonFlags(row.reason or "unspecified"),
            )
            for row in self._connection.execute(query)
        )

    def revoked_serials_of(self, issuer_id: int, *, ends_after: datetime) -> frozenset[int]:
        """Return the serial numbers of an issuer's revoked certificates that end later."""
        column = tables.certificates.c
        query = select(column.serial).where(*_revoked_of(issuer_id, ends_after))
        return frozenset(int(serial, 16) for serial in self._connection.scalars(query))

    def newest(
        self, *, before: int | None, most: int, spiffe_id: str, ends_after: datetime | None
    ) -> tuple[CertificateRecord, ...]:
        """Return certificates, the newest first.

        Args:
            before: only those with a lower id of the ledger.
            most: how many at most.
            spiffe_id: only those of this workload; empty for all.
            ends_after: only those that end at this time or later.
        """
        table = tables.certificates
        query = select(table).order_by(table.c.id.desc()).limit(most)
        if before is not None:
            query = query.where(table.c.id < before)
        if spiffe_id:
            query = query.where(table.c.spiffe_id == spiffe_id)
        if ends_after is not None:
            query = query.where(table.c.not_after >= to_seconds(ends_after))
        return self._many(query)

    def _insert(self, table: Any, **values: object) -> int:
        result = self._connection.execute(insert(table), values)
        key = result.inserted_primary_key
        assert key is not None
        return int(key[0])

    def _many(self, query: Select[Any]) -> tuple[CertificateRecord, ...]:
        return tuple(record_of_row(row) for row in self._connection.execute(query))


def _revoked_of(issuer_id: int, ends_after: datetime) -> tuple[ColumnElement[bool], ...]:
    column = tables.certificates.c
    return (
        column.issuer_id == issuer_id,
        column.revoked_at.is_not(None),
        column.not_after >= to_seconds(ends_after),
    )


def _one(rows: Sequence[Row[Any]]) -> CertificateRecord | None:
    return record_of_row(rows[0]) if rows else None


def _row_of(new: NewCertificate) -> Values:
    certificate = new.certificate
    return (
        new.issuer_id,
        f"{certificate.serial_number:x}",
        new.spiffe_id,
        new.profile,
        der_of(certificate),
        new.key_fingerprint,
        to_seconds(certificate.not_valid_before_utc),
        to_seconds(certificate.not_valid_after_utc),
        to_seconds(new.issued_at),
        new.renewed_from,
        new.line_id,
    )
