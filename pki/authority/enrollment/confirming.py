"""Confirm the registrations of a restored backup: some may have been deleted or changed since."""

from __future__ import annotations

from collections.abc import Collection

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.ledger.audit import AuditAction
from pki.authority.registrations import Caller
from pki.errors import NotFoundError, NotPermittedError
from pki.identity import SpiffeId

AT_ONCE = 500
"""How many are confirmed, or listed, at once."""


def unconfirmed_registrations(
    context: AuthorityContext, caller: Caller, *, after: str = ""
) -> tuple[str, ...]:
    """Return the SPIFFE IDs of registrations that wait for an admin: the first :data:`AT_ONCE`.

    Args:
        context: the CA.
        caller: who asks, an admin.
        after: only those after this SPIFFE ID.

    Raises:
        NotPermittedError: if the caller is no admin.
    """
    _check_admin(context, caller)
    with context.ledger.snapshot(newest=True) as transaction:
        waiting = transaction.registrations.unconfirmed()
    return tuple(item for item in sorted(waiting) if item > after)[:AT_ONCE]


def confirm_registrations(
    context: AuthorityContext, caller: Caller, spiffe_ids: Collection[SpiffeId] | None
) -> tuple[str, ...]:
    """Confirm registrations as they are: certificates are issued for them again.

    Args:
        context: the CA.
        caller: who asks, an admin.
        spiffe_ids: the workloads; None for the first :data:`AT_ONCE` that wait.

    Returns:
        The SPIFFE IDs that are confirmed now, and waited before.

    Raises:
        NotPermittedError: if the caller is no admin.
        NotFoundError: if a workload is not registered; then none is confirmed.
    """
    _check_admin(context, caller)
    context = acting_as(context, caller.name)
    with context.ledger.transaction() as transaction:
        waiting = transaction.registrations.unconfirmed()
        for spiffe_id in spiffe_ids or ():
            if transaction.registrations.get(spiffe_id) is None:
                raise NotFoundError(
                    f"{spiffe_id} is not registered", remedy="See: handfast registration list"
                )
        wanted = None if spiffe_ids is None else {str(item) for item in spiffe_ids}
        chosen = (
            waiting[:AT_ONCE]
            if wanted is None
            else tuple(item for item in waiting if item in wanted)
        )
        transaction.registrations.confirm(chosen)
        for item in chosen:
            transaction.audit.append(
                context.audit_entry(AuditAction.REGISTER_CONFIRM, subject=item)
            )
    return chosen


def _check_admin(context: AuthorityContext, caller: Caller) -> None:
    if caller.is_admin:
        return
    refusal = acting_as(context, caller.name).audit_entry(
        AuditAction.REFUSE, asked=AuditAction.REGISTER_CONFIRM.value
    )
    with recorded_refusals(context.ledger, refusal):
        raise NotPermittedError(
            "only an admin confirms registrations from a backup", remedy="Ask a ca-admin"
        )
