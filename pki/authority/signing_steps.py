"""Take the steps of an operation that signs a leaf: one transaction, or two around the signature.

Each is a step of :meth:`Ledger.run`, which may share its commit with others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pki.authority.ledger import Ledger, Transaction
from pki.authority.ledger.batching.needs import NOTHING, Needs
from pki.authority.signing import PlannedLeaf, SignedLeaf
from pki.errors import LedgerError, PkiError

_AT_ONCE = 50
"""So many leaves are one step: who is urgent waits for it."""
_Result = TypeVar("_Result")
Decide = Callable[[Transaction, SignedLeaf | None], _Result | PlannedLeaf]
"""Decides in a transaction, and returns its result or what is to be signed. It is called again with
the signed leaf, and decides everything anew."""


def sign_in_steps(ledger: Ledger, decide: Decide[_Result], needs: Needs = NOTHING) -> _Result:
    """Decide in a transaction; if a leaf is to be signed by an external signer, once more after it.

    Args:
        ledger: of the CA.
        decide: of the operation.
        needs: what it will ask the ledger for.
    """
    result = ledger.run_recorded(lambda transaction: decide(transaction, None), needs)
    if not isinstance(result, PlannedLeaf):
        return result
    signed = result.sign()
    result = ledger.run_recorded(lambda transaction: decide(transaction, signed), needs)
    assert not isinstance(result, PlannedLeaf)
    return result


@dataclass(frozen=True, slots=True)
class Order(Generic[_Result]):
    """One of several operations that share their transactions.

    Args:
        decide: of the operation.
        refused: records, in the same transaction, that it was refused.
        needs: what it will ask the ledger for.
    """

    decide: Decide[_Result]
    refused: Callable[[Transaction, PkiError], object]
    needs: Needs = NOTHING

    def take(
        self, transaction: Transaction, signed: SignedLeaf | None
    ) -> _Result | PlannedLeaf | PkiError:
        """Decide; if that is refused, undo it alone and record the refusal."""
        try:
            return transaction.alone(lambda: self.decide(transaction, signed))
        except PkiError as error:
            self.refused(transaction, error)
            return error


def sign_each_in_steps(
    ledger: Ledger, orders: Sequence[Order[_Result]]
) -> list[_Result | PkiError]:
    """Take the steps of several operations together: one that is refused is undone by itself.

    Returns:
        For each, in turn, its result or why there is none.

    Raises:
        LedgerError: if what is pending can't be recorded.
    """
    results: list[_Result | PkiError] = []
    for begin in range(0, len(orders), _AT_ONCE):
        part = orders[begin : begin + _AT_ONCE]
        try:
            signed = _sign_part(ledger, part)
        except LedgerError as error:
            results += [error] * len(part)
        else:
            results += signed
    return results


def _sign_part(ledger: Ledger, orders: Sequence[Order[_Result]]) -> list[_Result | PkiError]:
    needs = Needs.all_of(order.needs for order in orders)
    taken = ledger.run_recorded(
        lambda transaction: [order.take(transaction, None) for order in orders], needs
    )
    signed = {
        place: result.sign()
        for place, result in enumerate(taken)
        if isinstance(result, PlannedLeaf)
    }

    def record(transaction: Transaction) -> None:
        for place, leaf in signed.items():
            taken[place] = orders[place].take(transaction, leaf)

    if signed:
        ledger.run_recorded(record, needs)
    results: list[_Result | PkiError] = []
    for result in taken:
        assert not isinstance(result, PlannedLeaf)
        results.append(result)
    return results
