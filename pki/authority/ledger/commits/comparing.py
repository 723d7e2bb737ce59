"""Compare a transaction with the ledger's mark, which other processes may move meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from pki.authority.ledger.beside.mark import LedgerMark
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.transaction import Transaction
from pki.errors import LedgerMovedError, OlderLedgerError, StateError


def compare(
    mark: LedgerMark,
    transaction: Transaction,
    place: LedgerPlace,
    snapshot: Callable[..., AbstractContextManager[Transaction]],
) -> StateError | None:
    """Compare a transaction with the mark; as :meth:`LedgerMark.compare`.

    Args:
        mark: the mark.
        transaction: one that may write.
        place: where the ledger lies.
        snapshot: as :meth:`Ledger.snapshot`.

    Raises:
        OlderLedgerError: as :meth:`LedgerMark.compare`.
        LedgerMovedError: if another process of this replica has moved the mark since the
            transaction began.
    """
    try:
        return mark.compare(transaction.state())
    except OlderLedgerError:
        if not place.is_shared:
            # It locks others out.
            raise
        with snapshot(newest=True):
            raise LedgerMovedError from None
