"""Issue certificates for the requests of other workloads, on the word of a registrar."""

from __future__ import annotations

from collections.abc import Sequence

from pki.authority.audit.refusals import append_refusal
from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.enrollment.obtained import (
    Obtained,
    Step,
    derived_names,
    obtained,
    order_of,
    sign_for_request,
)
from pki.authority.enrollment.registering import registered
from pki.authority.issuing.issuance import order_for_request
from pki.authority.issuing.repeats import find_repeated
from pki.authority.ledger import Transaction
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.batching.needs import Needs
from pki.authority.registrations import Caller, Proof
from pki.authority.signing import PlannedLeaf, SignedLeaf
from pki.authority.signing_steps import Order, sign_each_in_steps
from pki.errors import PkiError
from pki.identity import SpiffeId
from pki.x509 import read_request


def issue_for_registrar(
    context: AuthorityContext, caller: Caller, items: Sequence[tuple[str, bytes]]
) -> list[Obtained | PkiError]:
    """Issue certificates for the requests of workloads, in a few commits.

    One that is refused does not stop the others. The same request within ten minutes gets the same
    certificate.

    Args:
        context: the CA.
        caller: the registrar.
        items: the SPIFFE ID of each workload, which must be registered for this way, and its
            certificate signing request, DER or PEM.

    Returns:
        For each, in turn, what was obtained, or why not: ``NotFoundError`` if the workload is not
        registered, ``NotRegisteredError`` if its registration does not allow this way,
        ``NotPermittedError`` if the caller may not decide on it or the request asks for another
        name, ``InputError`` if the request or the SPIFFE ID is malformed.

    Raises:
        LedgerError: if nothing could be recorded.
    """
    context = acting_as(context, caller.name)
    results: dict[int, Obtained | PkiError] = {}
    orders: dict[int, Order[Obtained]] = {}
    for place, (spiffe_id, request) in enumerate(items):
        try:
            orders[place] = _order(context, caller, SpiffeId.parse(spiffe_id), request)
        except PkiError as error:
            results[place] = error
    signed = sign_each_in_steps(context.ledger, list(orders.values())) if orders else []
    results.update(zip(orders, signed, strict=True))
    return [results[place] for place in range(len(items))]


def _order(
    context: AuthorityContext, caller: Caller, spiffe_id: SpiffeId, request: bytes
) -> Order[Obtained]:
    parsed = read_request(request)
    refusal = context.audit_entry(
        AuditAction.REFUSE, subject=str(spiffe_id), asked=AuditAction.ISSUE.value
    )

    def decide(transaction: Transaction, signed: SignedLeaf | None) -> Obtained | PlannedLeaf:
        registration, revision = registered(context, transaction, caller, spiffe_id)
        order = order_of(
            registration,
            parsed.key,
            Proof.REGISTRAR,
            by_admin=caller.is_admin and revision.by_admin,
        )
        repeated = find_repeated(order_for_request(order, parsed), transaction, now=context.now())
        if repeated is not None:
            return obtained(context, transaction, repeated, is_repeated=True)
        result = sign_for_request(context, Step(transaction, signed), order, parsed)
        if isinstance(result, PlannedLeaf):
            return result
        new, notes = result
        return obtained(context, transaction, new, notes=notes)

    return Order(
        decide,
        lambda transaction, error: append_refusal(transaction, refusal, error),
        Needs((parsed.key,), (str(spiffe_id),), derived_names(spiffe_id)),
    )
