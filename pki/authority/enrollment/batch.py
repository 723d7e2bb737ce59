"""Issue certificates for the requests of other workloads, on the word of a registrar."""

from __future__ import annotations

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.enrollment.obtained import (
    Obtained,
    Step,
    obtained,
    order_of,
    run_in_steps,
    sign_for_request,
)
from pki.authority.enrollment.registering import registered
from pki.authority.issuing.issuance import order_for_request
from pki.authority.issuing.repeats import find_repeated
from pki.authority.ledger.audit import AuditAction
from pki.authority.registrations import Caller, Proof
from pki.authority.signing import PlannedLeaf
from pki.identity import SpiffeId
from pki.x509 import read_request


def issue_for_registrar(
    context: AuthorityContext, caller: Caller, spiffe_id: SpiffeId, request: bytes
) -> Obtained:
    """Issue a certificate for the request of a workload.

    The same request within ten minutes gets the same certificate.

    Args:
        context: the CA.
        caller: the registrar.
        spiffe_id: the workload; it must be registered for this way.
        request: its certificate signing request, DER or PEM.

    Raises:
        NotFoundError: if the workload is not registered.
        NotRegisteredError: if its registration does not allow this way.
        NotPermittedError: if the caller may not decide on it, or the request asks for another name.
        InputError: if the request is malformed.
    """
    parsed = read_request(request)
    context = acting_as(context, caller.name)
    refusal = context.audit_entry(
        AuditAction.REFUSE, subject=str(spiffe_id), asked=AuditAction.ISSUE.value
    )

    def decide(step: Step) -> Obtained | PlannedLeaf:
        transaction = step.transaction
        registration, revision = registered(context, transaction, caller, spiffe_id)
        order = order_of(
            registration,
            parsed.public_key,
            Proof.REGISTRAR,
            by_admin=caller.is_admin and revision.by_admin,
        )
        repeated = find_repeated(order_for_request(order, parsed), transaction, now=context.now())
        if repeated is not None:
            return obtained(context, transaction, repeated, is_repeated=True)
        result = sign_for_request(context, step, order, parsed)
        if isinstance(result, PlannedLeaf):
            return result
        record, notes = result
        return obtained(context, transaction, record, notes=notes)

    with recorded_refusals(context.ledger, refusal):
        return run_in_steps(context, decide)
