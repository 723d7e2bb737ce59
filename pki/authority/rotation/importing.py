"""Take in what the roots signed elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from pki.authority.context import AuthorityContext
from pki.authority.rotation.answers import RootAnswer
from pki.authority.rotation.readiness import Holder
from pki.authority.rotation.recording import record_answer
from pki.authority.rotation.requests import RootRequest
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
