"""The ledger's rows as the verification of the log compares them with their entries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from pki.authority.ledger import tables
from pki.authority.ledger.rows import in_parts

_READ_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """A row of the certificates, as it is stored. Times are seconds since 1970."""

    id: int
    serial: str
    spiffe_id: str
    profile: str
    certificate: bytes
    key_fingerprint: str
    not_before: int
    not_after: int
    issued_at: int
    renewed_from: str | None
    """The serial number of the certificate that it renewed."""
    revoked_at: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class IssuerRow:
    """A row of the CA's own certificates, as it is stored."""

    id: int
    key_id: str
    status: str
    serial: str
    certificate: bytes


def certificate_rows(connection: Connection) -> Iterator[CertificateRow]:
    """Yield the certificates, oldest first."""
    table = tables.certificates
    before = table.alias("before")
    query = (
        select(
            table.c.id,
            table.c.serial,
            table.c.spiffe_id,
            table.c.profile,
            table.c.certificate,
            table.c.key_fingerprint,
            table.c.not_before,
            table.c.not_after,
            table.c.issued_at,
            before.c.serial,
            table.c.revoked_at,
            table.c.reason,
        )
        .join_from(table, before, table.c.renewed_from == before.c.id, isouter=True)
        .order_by(table.c.id)
    )
    for row in in_parts(connection, query, _READ_AT_ONCE):
        yield CertificateRow(*list(row))


def issuer_rows(connection: Connection) -> Iterator[IssuerRow]:
    """Yield the CA's own certificates, oldest first."""
    table = tables.issuers
    query = select(
        table.c.id, table.c.key_id, table.c.status, table.c.serial, table.c.certificate
    ).order_by(table.c.id)
    for row in connection.execute(query):
        yield IssuerRow(*list(row))


def unrecorded_serials(connection: Connection) -> frozenset[str]:
    """Return the serial numbers that are revoked, though no certificate of them is recorded."""
    return frozenset(connection.scalars(select(tables.unrecorded_revocations.c.serial)))
