"""Confirm the registrations of a restored backup: some may have been deleted or changed since."""

from __future__ import annotations

from collections.abc import Collection

from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.ledger.audit import AuditAction
from pki.authority.registrations import Caller
from pki.errors import NotFoundError, NotPermittedError
from pki.identity import SpiffeId


def unconfirmed_registrations(context: AuthorityContext) -> tuple[str, ...]:
    """Return the SPIFFE IDs of the registrations that wait for an admin."""
    with context.ledger.snapshot(newest=True) as transaction:
        return transaction.registrations.unconfirmed()


def confirm_registrations(
    context: AuthorityContext, caller: Caller, spiffe_ids: Collection[SpiffeId] | None
) -> tuple[str, ...]:
    """Confirm registrations as they are: certificates are issued for them again.

    Args:
        context: the CA.
        caller: who asks, an admin.
        spiffe_ids: the workloads; None for all that wait.

    Returns:
        The SPIFFE IDs that are confirmed now, and waited before.

    Raises:
        NotPermittedError: if the caller is no admin.
        NotFoundError: if a workload is not registered; then none is confirmed.
    """
    if not caller.is_admin:
        raise NotPermittedError(
            "only an admin confirms registrations from a backup", remedy="Ask an admin"
        )
    context = acting_as(context, caller.name)
    with context.ledger.transaction() as transaction:
        waiting = transaction.registrations.unconfirmed()
        for spiffe_id in spiffe_ids or ():
            if transaction.registrations.get(spiffe_id) is None:
                raise NotFoundError(
                    f"{spiffe_id} is not registered", remedy="See: handfast registration list"
                )
        wanted = None if spiffe_ids is None else {str(item) for item in spiffe_ids}
        chosen = tuple(item for item in waiting if wanted is None or item in wanted)
        transaction.registrations.confirm(chosen)
        for item in chosen:
            transaction.audit.append(
                context.audit_entry(AuditAction.REGISTER_CONFIRM, subject=item)
            )
    return chosen
