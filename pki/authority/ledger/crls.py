"""The revocation lists in the ledger: one for each issuer, and roots' lists signed ahead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, insert, select

from pki.authority.ledger import tables
from pki.authority.ledger.records import CrlRecord
from pki.authority.ledger.recovery import RecoveryRecords
from pki.errors import LedgerError
from pki.x509 import Crl

_REMEDY = "Sign a new CRL (handfast crl). For the root's CRL, bring the root's key back first"


class CrlRecords:
    """The part of a transaction that reads and writes revocation lists."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, issuer_id: int, crl: Crl) -> None:
        """Make a list its issuer's current one.

        Raises:
            LedgerError: if its number is not higher than that of the current list and of every list
                that an older ledger may have lost.
        """
        current = self.current(issuer_id)
        if current is not None and crl.number <= current.number:
            raise LedgerError(
                f"CRL number {crl.number} is not higher than {current.number}, the number of the "
                "current CRL",
                remedy=_REMEDY,
            )
        if crl.number <= RecoveryRecords(self._connection).crl_floor(issuer_id):
            raise LedgerError(
                f"CRL number {crl.number} may have been published before the ledger was lost",
                remedy=_REMEDY,
            )
        self._connection.execute(delete(tables.crls).where(tables.crls.c.issuer_id == issuer_id))
        self._connection.execute(
            insert(tables.crls).values(
                issuer_id=issuer_id,
                number=crl.number,
                list=crl.der,
                next_update=int(crl.next_update.timestamp()),
            )
        )

    def current(self, issuer_id: int) -> CrlRecord | None:
        """Return an issuer's current CRL; None if it has none yet."""
        row = self._connection.execute(
            select(tables.crls).where(tables.crls.c.issuer_id == issuer_id)
        ).one_or_none()
        if row is None:
            return None
        next_update = datetime.fromtimestamp(row.next_update, tz=UTC)
        return CrlRecord(row.issuer_id, row.number, row.list, next_update)

    def put_presigned(self, root_id: int, presigned: Iterable[tuple[Sequence[int], Crl]]) -> None:
        """Replace a root's lists that are signed ahead.

        Args:
            root_id: the root.
            presigned: each list with the ids of the issuing CAs that it revokes.
        """
        table = tables.distrust_crls
        self._connection.execute(delete(table).where(table.c.root_id == root_id))
        for issuer_ids, crl in presigned:
            self._connection.execute(
                insert(tables.distrust_crls).values(
                    members=_members(issuer_ids),
                    number=crl.number,
                    list=crl.der,
                    root_id=root_id,
                )
            )

    def presigned(self, root_id: int, issuer_ids: Sequence[int]) -> bytes | None:
        """Return a root's CRL, signed ahead, that revokes exactly these issuing CAs (DER)."""
        table = tables.distrust_crls
        der: bytes | None = self._connection.scalar(
            select(table.c.list)
            .where(table.c.root_id == root_id)
            .where(table.c.members == _members(issuer_ids))
        )
        return der

    def highest_presigned_number(self, root_id: int) -> int:
        """Return the highest number of a root's CRLs that are signed ahead; 0 without any."""
        table = tables.distrust_crls
        query = select(table.c.number).where(table.c.root_id == root_id)
        numbers = self._connection.scalars(query).all()
        return max(numbers, default=0)


def _members(issuer_ids: Sequence[int]) -> str:
    return ",".join(str(item) for item in sorted(issuer_ids))
