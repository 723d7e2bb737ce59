"""The revocation lists in the ledger: one for each issuer, and roots' lists signed ahead."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, func, insert, select

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection
from pki.authority.ledger.records import CrlRecord
from pki.authority.ledger.recovery import RecoveryRecords
from pki.errors import LedgerError
from pki.x509 import Crl
from pki.x509.readers import read_crls

_SELECT_NUMBERS = select(tables.crls.c.issuer_id, tables.crls.c.number)
_MOST_DECODED = 16 * 1024 * 1024
_REMEDY = "Sign a new CRL (handfast crl). For the root's CRL, bring the root's key back first"


class _Decoded:
    """The CRLs that were decoded last: one of 100,000 entries takes more than a second each time.

    Known by their bytes, so it does not matter which ledger they are in.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: OrderedDict[bytes, Crl] = OrderedDict()

    def of(self, der: bytes) -> Crl:
        with self._lock:
            crl = self._lists.get(der)
            if crl is not None:
                self._lists.move_to_end(der)
                return crl
        crl = Crl.of(read_crls(der)[0])
        self.keep(der, crl)
        return crl

    def keep(self, der: bytes, crl: Crl) -> None:
        with self._lock:
            self._lists[der] = crl
            size = sum(map(len, self._lists))
            while size > _MOST_DECODED and len(self._lists) > 1:
                size -= len(self._lists.popitem(last=False)[0])


_decoded = _Decoded()


class CrlRecords:
    """The part of a transaction that reads and writes revocation lists."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection
        self.changes = 0
        """How often a current list may have changed."""
        self._numbers: tuple[int, dict[int, int]] | None = None

    def put(self, issuer_id: int, crl: Crl) -> None:
        """Make a list its issuer's current one.

        Raises:
            LedgerError: if its number is not higher than that of the current list and of every list
                that an older ledger may have lost.
        """
        current = self.current_number(issuer_id)
        if current is not None and crl.number <= current:
            raise LedgerError(
                f"CRL number {crl.number} is not higher than {current}, the number of the "
                "current CRL",
                remedy=_REMEDY,
            )
        if crl.number <= RecoveryRecords(self._connection).crl_floor(issuer_id):
            raise LedgerError(
                f"CRL number {crl.number} may have been published before the ledger was lost",
                remedy=_REMEDY,
            )
        self.changes += 1
        self._connection.execute(delete(tables.crls).where(tables.crls.c.issuer_id == issuer_id))
        der = crl.der
        self._connection.execute(
            insert(tables.crls).values(
                issuer_id=issuer_id,
                number=crl.number,
                list=der,
                next_update=int(crl.next_update.timestamp()),
            )
        )
        _decoded.keep(der, crl)

    def current(self, issuer_id: int) -> CrlRecord | None:
        """Return an issuer's current CRL; None if it has none yet."""
        query = select(tables.crls).where(tables.crls.c.issuer_id == issuer_id)
        row = self._connection.read(query, of=tables.crls).one_or_none()
        if row is None:
            return None
        next_update = datetime.fromtimestamp(row.next_update, tz=UTC)
        return CrlRecord(row.issuer_id, row.number, row.list, next_update)

    def current_number(self, issuer_id: int) -> int | None:
        """Return the number of an issuer's current CRL, without reading the list itself."""
        table = tables.crls
        number: int | None = self._connection.scalar(
            select(table.c.number).where(table.c.issuer_id == issuer_id)
        )
        return number

    def numbers(self) -> Mapping[int, int]:
        """Return the numbers of all current CRLs, each by the ledger's id of its issuer."""
        if self._numbers is None or self._numbers[0] != self.changes:
            rows = self._connection.read(_SELECT_NUMBERS, of=tables.crls)
            self._numbers = (self.changes, {row.issuer_id: row.number for row in rows})
        return self._numbers[1]

    def current_size(self, issuer_id: int) -> int:
        """Return how many bytes an issuer's current CRL has; 0 if it has none yet."""
        table = tables.crls
        size = self._connection.scalar(
            select(func.length(table.c.list)).where(table.c.issuer_id == issuer_id)
        )
        return int(size or 0)

    def current_list(self, issuer_id: int) -> Crl | None:
        """Return an issuer's current CRL, decoded; None if it has none yet."""
        current = self.current(issuer_id)
        return None if current is None else _decoded.of(current.der)

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
