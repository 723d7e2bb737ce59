"""How the ledger's columns hold certificates and times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from sqlalchemy import Connection, Row, Select

from pki.authority.ledger.records import CertificateRecord


def record_of_row(row: Row[Any]) -> CertificateRecord:
    """Return a row of the certificates as a record."""
    return CertificateRecord(
        row.id,
        row.issuer_id,
        row.serial,
        row.spiffe_id,
        row.profile,
        x509.load_der_x509_certificate(row.certificate),
        row.key_fingerprint,
        to_moment(row.not_before),
        to_moment(row.not_after),
        to_moment(row.issued_at),
        row.renewed_from,
        to_moment(row.revoked_at) if row.revoked_at is not None else None,
        row.reason,
        row.line_id,
    )


def der_of(certificate: x509.Certificate) -> bytes:
    """Return a certificate as the ledger holds it."""
    return certificate.public_bytes(serialization.Encoding.DER)


def to_seconds(moment: datetime) -> int:
    """Return a time as the ledger holds it: whole seconds since 1970, UTC."""
    return int(moment.timestamp())


def to_moment(seconds: int) -> datetime:
    """Return a time that the ledger holds."""
    return datetime.fromtimestamp(seconds, tz=UTC)


def in_parts(connection: Connection, query: Select[Any], size: int) -> Iterator[Row[Any]]:
    """Yield the rows of a query, so many of which are in memory at once.

    Whoever stops early leaves nothing open at the database's server.
    """
    with connection.execute(query.execution_options(yield_per=size)) as rows:
        yield from rows
