"""Issue many leaves in one commit: each order has its own end, and none can spoil another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.issued import Issued
from pki.authority.issuing.issuance import (
    issue,
    needs_of,
    refusal_entry,
    sign_order,
    trust_of,
)
from pki.authority.ledger import Transaction
from pki.authority.ledger.batching.needs import Needs
from pki.authority.ledger.records import NewCertificate
from pki.authority.lifetimes import check_leaf_lifetime
from pki.authority.orders import LeafOrder
from pki.authority.signing import PlannedLeaf
from pki.errors import LedgerError, PkiError
from pki.keys import PrivateKey

_Leaf = tuple[NewCertificate, tuple[str, ...]]


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
    with context.ledger.transaction() as transaction:
        transaction.read_ahead(Needs.all_of(needs_of(order) for order, _ in orders))
        signed = [_sign_alone(context, order, transaction) for order, _ in orders]
        trust = trust_of(context, transaction)
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
            new, notes = result
            results.append(trust.issued(order.spiffe_id, new.certificate, key=key, notes=notes))
    return results


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
