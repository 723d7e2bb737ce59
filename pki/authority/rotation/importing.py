"""Take in what the roots signed elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from pki.authority.context import AuthorityContext
from pki.authority.ledger import Transaction
from pki.authority.rotation.answers import RootAnswer
from pki.authority.rotation.pending import (
    check_current,
    is_recorded,
    kept_request,
    pending_request,
)
from pki.authority.rotation.readiness import Holder
from pki.authority.rotation.recording import record_answer
from pki.authority.rotation.requests import RootRequest
from pki.authority.rotation.stranding import check_withdrawal, record_withdrawal
from pki.errors import InputError, WrongStepError, quote_untrusted


def import_answers(
    context: AuthorityContext, answers: Sequence[RootAnswer], *, force: bool = False
) -> tuple[RootRequest, tuple[Holder, ...]]:
    """Check the answers to the pending request, and record what they hold.

    Args:
        context: the CA.
        answers: one, or several that several machines made.
        force: complete a withdrawal even if it strands workloads.

    Returns:
        The request that is answered, and the holders that this has stranded. What was imported
        already is imported once, and then has stranded nobody.

    Raises:
        WrongStepError: if no request is pending, the CA has changed since, a part is missing, or a
            workload would be stranded.
        InputError: if a part of the answers is not what was requested.
    """
    if not answers:
        raise InputError("there is no answer to import")
    with context.ledger.transaction() as transaction:
        request = kept_request(transaction)
        if request is None:
            raise WrongStepError(
                "no request is pending, so there is no answer to import",
                remedy="Make a request first: handfast ca root prepare",
            )
        for answer in answers:
            if answer.request != request.digest:
                raise _other_request(context, transaction, answer)
        whole = answers[0].merged_with(answers[1:])
        if is_recorded(transaction, request, whole):
            # Whoever lost our answer asks again.
            return request, ()
        # First, because a request that has ended strands nobody.
        check_current(context, transaction, request)
        stranded = check_withdrawal(context, transaction, request, force=force)
        record_answer(context, transaction, request, whole, forced=force)
        record_withdrawal(context, transaction, request, stranded)
        return request, stranded


def _other_request(
    context: AuthorityContext, transaction: Transaction, answer: RootAnswer
) -> InputError:
    pending = pending_request(context, transaction)
    waits_for = f"that to {pending.digest[:16]}" if pending is not None else "none"
    return InputError(
        f"the answer is to request {quote_untrusted(answer.request[:16])}, and this CA waits for "
        f"{waits_for}",
        remedy="Sign the newest request: a new one takes the place of the one before"
        if pending is not None
        else "That request was answered, another one took its place, or the CA has changed since: "
        "make a new one, and have it signed",
    )
