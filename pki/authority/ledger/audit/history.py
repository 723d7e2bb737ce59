"""What the ledger held before its audit log began, as one hash that can be computed again.

The certificates, issuing CAs and revocations of then are never changed by the CA: a later
revocation or distrust has an entry of its own in the log. So whoever knows these entries can leave
them out, and compute the same hash as on the first day.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, func, select

from pki.authority.ledger import tables
from pki.authority.ledger.records import IssuerStatus
from pki.authority.ledger.rows import in_parts

_READ_AT_ONCE = 500
# By name, and for good: a column that a later schema adds is no part of the history.
_ISSUER = ("id", "kind", "key_id", "serial", "certificate", "not_after", "created_at")
_CERTIFICATE = (
    "id",
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
)
_UNRECORDED = ("issuer_id", "serial", "revoked_at", "reason")


@dataclass(frozen=True, slots=True)
class LaterChanges:
    """What the log itself tells of, and what its beginning did not hold.

    Args:
        revoked: serial numbers that an entry revoked.
        distrusted: key ids of issuing CAs that an entry distrusted.
    """

    revoked: Container[str] = field(default_factory=frozenset)
    distrusted: Container[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class History:
    """What the ledger held before the log.

    Args:
        certificates: the highest id of a certificate.
        issuers: the highest id of one of the CA's own certificates.
        digest: SHA-256 over all rows up to these, in hex.
    """

    certificates: int
    issuers: int
    digest: str

    def to_details(self) -> dict[str, str | int]:
        """Return what the entry about the history holds."""
        return {
            "certificates": self.certificates,
            "issuers": self.issuers,
            "rows_sha256": self.digest,
        }


def read_history(
    connection: Connection,
    *,
    up_to: tuple[int, int] | None = None,
    later: LaterChanges | None = None,
) -> History:
    """Compute the hash of the ledger's history.

    Args:
        connection: of the ledger.
        up_to: the highest ids of certificates and issuers; None takes all that there are.
        later: what changed since then, and is left out.
    """
    later = later or LaterChanges()
    if up_to is None:
        up_to = (
            connection.scalar(select(func.max(tables.certificates.c.id))) or 0,
            connection.scalar(select(func.max(tables.issuers.c.id))) or 0,
        )
    digest = sha256()
    for line in _lines(connection, up_to, later):
        digest.update(json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")
    return History(*up_to, digest.hexdigest())


def _lines(
    connection: Connection, up_to: tuple[int, int], later: LaterChanges
) -> Iterator[list[object]]:
    issuers = tables.issuers
    for row in _rows(connection, select(issuers).where(issuers.c.id <= up_to[1])):
        is_distrusted = row.status == IssuerStatus.DISTRUSTED and row.key_id not in later.distrusted
        yield ["issuer", *_values(row, _ISSUER), is_distrusted]
    certificates = tables.certificates
    for row in _rows(connection, select(certificates).where(certificates.c.id <= up_to[0])):
        is_later = row.serial in later.revoked
        revoked = (None, None) if is_later else (row.revoked_at, row.reason)
        yield ["certificate", *_values(row, _CERTIFICATE), *revoked]
    unrecorded = tables.unrecorded_revocations
    query = select(unrecorded).order_by(unrecorded.c.issuer_id, unrecorded.c.serial)
    for row in connection.execute(query):
        if row.serial not in later.revoked:
            yield ["unrecorded", *_values(row, _UNRECORDED)]


def _rows(connection: Connection, query: Any) -> Iterator[Row[Any]]:
    return in_parts(connection, query.order_by("id"), _READ_AT_ONCE)


def _values(row: Row[Any], columns: tuple[str, ...]) -> Iterator[object]:
    for name in columns:
        value = getattr(row, name)
        yield sha256(value).hexdigest() if isinstance(value, bytes) else value
