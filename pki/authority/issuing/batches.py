"""Issue many leaves in one commit: each order has its own end, and none can spoil another.

Most batches hold nothing that is refused. So a batch is first admitted, signed and recorded as a
whole, with a few statements for all of it. If anything stands in the way, all of that is undone,
and the orders are taken one after the other, each within a savepoint of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from cryptography import x509

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.issued import Issued
from pki.authority.issuing.issuance import (
    Trust,
    issue,
    issue_entry,
    notes_on,
    refusal_entry,
    sign_order,
    trust_of,
)
from pki.authority.ledger import Transaction
from pki.authority.lifetimes import check_leaf_lifetime
from pki.authority.orders import LeafOrder
from pki.authority.signing import PlannedLeaf
from pki.errors import LedgerError, PkiError
from pki.keys import PrivateKey

_Leaf = tuple[x509.Certificate, tuple[str, ...]]
_SignAll = Callable[
    [AuthorityContext, Sequence[LeafOrder], Transaction], Sequence[_Leaf | PkiError]
]


def issue_each(
    context: AuthorityContext, orders: Sequence[tuple[LeafOrder, PrivateKey]]
) -> list[Issued | PkiError]:
    """Issue leaves for many orders, each with a new key of its own, in one commit.

    An order that is refused is undone by itself, and recorded as ``issue`` does.

    Returns:
        For each order, in turn, what was issued or why it was not.

    Raises:
        LedgerError: if none could be recorded; then none is handed out.
    """
    if not orders:
        return []
    context.ledger.record_pending()
    with context.ledger.snapshot() as transaction:
        is_external = context.active_signer(transaction) is not None
    if is_external:
        # What an external signer signs can't be undone: each order needs transactions of its own.
        return [_issue_or_error(context, order, key) for order, key in orders]
    leaves = [order for order, _ in orders]
    try:
        signed, trust = _sign(context, leaves, _sign_as_a_whole)
    except LedgerError:
        raise
    except PkiError:
        signed, trust = _sign(context, leaves, _sign_each_alone)
    results: list[Issued | PkiError] = []
    for (order, key), result in zip(orders, signed, strict=True):
        if isinstance(result, PkiError):
            with (
                suppress(PkiError),
                recorded_refusals(context.ledger, refusal_entry(context, order)),
            ):
                raise result
            results.append(result)
        else:
            leaf, notes = result
            results.append(trust.issued(order.spiffe_id, leaf, key=key, notes=notes))
    return results


def _sign(
    context: AuthorityContext, orders: Sequence[LeafOrder], sign: _SignAll
) -> tuple[Sequence[_Leaf | PkiError], Trust]:
    with context.ledger.transaction() as transaction:
        return sign(context, orders, transaction), trust_of(context, transaction)


def _sign_as_a_whole(
    context: AuthorityContext, orders: Sequence[LeafOrder], transaction: Transaction
) -> Sequence[_Leaf]:
    for order in orders:
        check_leaf_lifetime(order.lifetime)
    now = context.now()
    by = context.active_ca(transaction)
    signed = context.signing.sign_new(orders, by, transaction, now=now)
    leaves = [(item.leaf, notes_on(item.planned, now=now)) for item in signed]
    transaction.audit.append_each([issue_entry(context, item, None, now=now) for item in signed])
    return leaves


def _sign_each_alone(
    context: AuthorityContext, orders: Sequence[LeafOrder], transaction: Transaction
) -> Sequence[_Leaf | PkiError]:
    return [_sign_alone(context, order, transaction) for order in orders]


def _sign_alone(
    context: AuthorityContext, order: LeafOrder, transaction: Transaction
) -> _Leaf | PkiError:
    def sign() -> _Leaf:
        check_leaf_lifetime(order.lifetime)
        result = sign_order(context, order, transaction, None)
        assert not isinstance(result, PlannedLeaf)
        return result

    try:
        return transaction.alone(sign)
    except LedgerError:
        raise
    except PkiError as error:
        return error


def _issue_or_error(
    context: AuthorityContext, order: LeafOrder, key: PrivateKey
) -> Issued | PkiError:
    try:
        return issue(context, order, key=key)
    except PkiError as error:
        return error
