"""Take in what the roots signed elsewhere, and ask them for CRLs alone."""

from __future__ import annotations

from collections.abc import Sequence

from pki.authority.context import AuthorityContext
from pki.authority.ledger.hierarchy import trusted_roots
from pki.authority.rotation.answers import RootAnswer
from pki.authority.rotation.planning import plan_request
from pki.authority.rotation.readiness import Holder
from pki.authority.rotation.recording import carry_out, record_answer
from pki.authority.rotation.requests import Purpose, RootRequest
from pki.authority.rotation.stranding import check_withdrawal, record_withdrawal
from pki.errors import InputError, StateError


def import_answers(
    context: AuthorityContext, answers: Sequence[RootAnswer], *, force: bool = False
) -> tuple[RootRequest, tuple[Holder, ...]]:
    """Check the answers to the pending request, and record what they hold.

    Args:
        context: the CA.
        answers: one, or several that several machines made.
        force: complete a withdrawal even if it strands workloads.

    Returns:
        The request that is answered, and the holders that this has stranded.

    Raises:
        StateError: if no request is pending, the ledger has changed since, or a part is missing.
        InputError: if a part of the answers is not what was requested.
    """
    if not answers:
        raise InputError("there is no answer to import")
    with context.ledger.transaction() as transaction:
        data = transaction.rotation.pending_request()
        if data is None:
            raise StateError(
                "no request is pending, so there is no answer to import",
                remedy="It was imported already, or make a request first: handfast ca root prepare",
            )
        request = RootRequest.read(data)
        for answer in answers:
            if answer.request != request.digest:
                raise InputError(
                    f"the answer is to request {answer.request[:16]}, and this CA waits for that "
                    f"to {request.digest[:16]}",
                    remedy="Sign the newest request: a new one takes the place of the one before",
                )
        stranded = check_withdrawal(context, transaction, request, force=force)
        whole = answers[0].merged_with(answers[1:])
        record_answer(context, transaction, request, whole)
        record_withdrawal(context, transaction, request, stranded)
        transaction.rotation.end_request()
        return request, stranded


def renew_root_crls(
    context: AuthorityContext, *, audit_key: bytes | None = None, may_wait: bool = True
) -> RootRequest | None:
    """Have the trusted roots sign their CRLs anew, those ahead included.

    Args:
        context: the CA.
        audit_key: a new key of the audit log, for a new trust bundle.
        may_wait: if a root's key is not there, keep a request for it.

    Returns:
        The request, if it waits; None if it was carried out.

    Raises:
        StateError: if a root's key is not there, and the request may not wait.
    """
    with context.ledger.transaction() as transaction:
        roots = trusted_roots(transaction.issuers())
        request = plan_request(
            context, transaction, Purpose.CRLS, crls_of=roots, audit_key=audit_key
        )
        done = carry_out(context, transaction, request, may_wait=may_wait)
        return None if done else request
