"""Lines of certificates in the ledger: what was renewed or recovered from what.

A line starts with a certificate that was issued with a proof of its own: by the operator, a token,
a registrar or a JWT. Its renewals and recoveries belong to it. A workload that runs several times
has a line for each instance, so that one of them can be blocked without the others.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, func, insert, select, union_all, update

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection
from pki.authority.ledger.batching.inserts import Inserts
from pki.authority.ledger.batching.lookups import Lookup, LookupQuery
from pki.authority.ledger.records import CertificateRecord
from pki.authority.ledger.rows import record_of_row, to_moment, to_seconds
from pki.keys import IdentifiedKey

# Made once: each certificate runs them.
_INSERTS = Inserts(tables.lines, ("id", "spiffe_id", "proof", "started_at"), rank=0)
_BY_IDS = select(tables.lines).where(tables.lines.c.id.in_(bindparam("values", expanding=True)))
_BY_ID = select(tables.lines).where(tables.lines.c.id == bindparam("id"))
_RECOVERY_KEY = union_all(
    select(tables.retired_recovery_keys.c.line_id).where(
        tables.retired_recovery_keys.c.fingerprint == bindparam("fingerprint")
    ),
    select(tables.lines.c.id).where(tables.lines.c.recovery_key == bindparam("key")),
)
_RECOVERIES = LookupQuery(tables.recoveries, "line_id")
_RETIRED_KEYS = select(tables.retired_recovery_keys.c.fingerprint).where(
    tables.retired_recovery_keys.c.fingerprint.in_(bindparam("values", expanding=True))
)
_PRESENT_KEYS = select(tables.lines.c.recovery_key).where(
    tables.lines.c.recovery_key.in_(bindparam("values", expanding=True))
)


@dataclass(frozen=True, slots=True)
class LineRecord:
    """A line.

    Args:
        id: 16 bytes, hex.
        spiffe_id: the workload.
        proof: with which its first certificate was obtained.
        started_at: when.
        blocked_at: since when nothing of it is renewed or recovered; None if it is not blocked.
        blocked_reason: why.
        recovery_key: the public key for the next recovery, DER; None if there is none.
    """

    id: str
    spiffe_id: str
    proof: str
    started_at: datetime
    blocked_at: datetime | None
    blocked_reason: str | None
    recovery_key: bytes | None


class LineRecords:
    """The part of a transaction that reads and writes lines."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection
        self._known: dict[str, LineRecord] = {}
        # Keys by their fingerprints, and whether they are recovery keys.
        self._recovery_keys: dict[str, bool] = {}
        self._recoveries = Lookup(connection, _RECOVERIES)
        connection.forget_by(self._known.clear)
        connection.forget_by(self._recovery_keys.clear)

    def read_ahead(self, keys: Iterable[IdentifiedKey]) -> None:
        """Read whether keys are recovery keys, with two statements for all of them."""
        ders = {key.fingerprint: key.der for key in keys}
        missing = [item for item in ders if item not in self._recovery_keys]
        if not missing:
            return
        retired = self._connection.scalars(_RETIRED_KEYS, {"values": missing})
        present = self._connection.scalars(
            _PRESENT_KEYS, {"values": [ders[item] for item in missing]}
        )
        found = {*retired, *present}
        self._recovery_keys.update({item: item in found or ders[item] in found for item in missing})

    def read_lines_ahead(self, line_ids: Iterable[str]) -> None:
        """Read lines and their recoveries, with one statement for all of each."""
        line_ids = list(line_ids)
        self._recoveries.read_ahead(line_ids)
        missing = [item for item in dict.fromkeys(line_ids) if item not in self._known]
        if missing:
            rows = self._connection.read(_BY_IDS, {"values": missing}, of=tables.lines)
            self._known.update({row.id: _line_of(row) for row in rows})

    def start(self, spiffe_id: str, *, proof: str, at: datetime) -> str:
        """Start a line; return its id."""
        line_id, seconds = secrets.token_hex(16), to_seconds(at)
        self._connection.add(_INSERTS, (line_id, spiffe_id, proof, seconds))
        self._known[line_id] = LineRecord(
            line_id, spiffe_id, proof, to_moment(seconds), None, None, None
        )
        return line_id

    def get(self, line_id: str) -> LineRecord | None:
        """Return a line; None if there is none."""
        if line_id in self._known:
            return self._known[line_id]
        row = self._connection.read(_BY_ID, {"id": line_id}, of=tables.lines).one_or_none()
        return None if row is None else _line_of(row)

    def origin(self, line_id: str) -> tuple[str, int] | None:
        """Return a line's proof, and the ledger's id of its first certificate."""
        certificates, lines = tables.certificates, tables.lines
        proof = self._connection.scalar(select(lines.c.proof).where(lines.c.id == line_id))
        first = self._connection.scalar(
            select(func.min(certificates.c.id)).where(certificates.c.line_id == line_id)
        )
        return None if proof is None or first is None else (proof, first)

    def origins(self) -> dict[str, tuple[str, int]]:
        """Return each line's proof, and the ledger's id of its first certificate."""
        certificates, lines = tables.certificates, tables.lines
        query = (
            select(lines.c.id, lines.c.proof, func.min(certificates.c.id).label("first"))
            .join(certificates, certificates.c.line_id == lines.c.id)
            .group_by(lines.c.id, lines.c.proof)
        )
        rows = self._connection.execute(query)
        return {row.id: (row.proof, row.first) for row in rows}

    def newest_certificate(self, line_id: str) -> CertificateRecord | None:
        """Return the certificate of a line that was not renewed; None if there is no line."""
        query = (
            select(tables.certificates)
            .where(tables.certificates.c.line_id == line_id)
            .order_by(tables.certificates.c.id.desc())
            .limit(1)
        )
        row = self._connection.execute(query).one_or_none()
        return record_of_row(row) if row is not None else None

    def last_end(self, line_id: str) -> datetime | None:
        """Return when the last certificate of a line ends; None if there is no line."""
        column = tables.certificates.c.not_after
        query = select(func.max(column)).where(tables.certificates.c.line_id == line_id)
        seconds = self._connection.scalar(query)
        return to_moment(seconds) if seconds is not None else None

    def block(self, line_ids: Iterable[str], *, reason: str, at: datetime) -> None:
        """Block lines for good, and end their recovery keys; one that is blocked stays as it is."""
        chosen = tables.lines.c.id.in_(list(line_ids))
        self._connection.execute(
            update(tables.lines)
            .where(chosen, tables.lines.c.blocked_at.is_(None))
            .values(blocked_at=to_seconds(at), blocked_reason=reason)
        )
        self._connection.execute(update(tables.lines).where(chosen).values(recovery_key=None))

    def end_recovery(self, line_ids: Iterable[str]) -> None:
        """End the recovery keys of lines: only a new proof helps then."""
        chosen = tables.lines.c.id.in_(list(line_ids))
        self._connection.execute(update(tables.lines).where(chosen).values(recovery_key=None))

    def end_all_recovery(self) -> None:
        """End the recovery keys of all lines: which were used, and how often, is not known."""
        self._connection.execute(update(tables.lines).values(recovery_key=None))

    def set_recovery_key(
        self, line_id: str, key: bytes, *, retired: str | None, at: datetime
    ) -> None:
        """Set the key for the next recovery of a line.

        Args:
            line_id: of the line.
            key: the public key, DER.
            retired: the fingerprint of the key that it replaces; None if it replaces none.
            at: the time.
        """
        if retired is not None:
            present = self.get(line_id)
            assert present is not None
            assert present.recovery_key is not None
            self._connection.execute(
                insert(tables.retired_recovery_keys).values(
                    fingerprint=retired,
                    line_id=line_id,
                    key=present.recovery_key,
                    retired_at=to_seconds(at),
                )
            )
        self._connection.execute(
            update(tables.lines).where(tables.lines.c.id == line_id).values(recovery_key=key)
        )

    def retired_recovery_keys(self, line_id: str) -> tuple[bytes, ...]:
        """Return the recovery keys of a line that were replaced, the newest first."""
        table = tables.retired_recovery_keys
        query = (
            select(table.c.key)
            .where(table.c.line_id == line_id)
            .order_by(table.c.retired_at.desc())
        )
        return tuple(self._connection.scalars(query))

    def is_recovery_key_known(self, fingerprint: str, key: bytes) -> bool:
        """Return whether a recovery key is in use, or was used, in any line."""
        known = self._recovery_keys.get(fingerprint)
        if known is None:
            found = self._connection.execute(
                _RECOVERY_KEY, {"fingerprint": fingerprint, "key": key}
            )
            known = found.first() is not None
        return known

    def add_recovery(self, line_id: str, certificate_id: int, *, at: datetime) -> None:
        """Record that a certificate was obtained by recovery."""
        self._connection.execute(
            insert(tables.recoveries).values(
                certificate_id=certificate_id, line_id=line_id, at=to_seconds(at)
            )
        )

    def recoveries(self, line_id: str, *, since: datetime) -> int:
        """Return how many recoveries a line has made since a time."""
        begin = to_seconds(since)
        return sum(row.at > begin for row in self._recoveries.of(line_id))


def _line_of(row: Row[Any]) -> LineRecord:
    return LineRecord(
        row.id,
        row.spiffe_id,
        row.proof,
        to_moment(row.started_at),
        to_moment(row.blocked_at) if row.blocked_at is not None else None,
        row.blocked_reason,
        row.recovery_key,
    )
