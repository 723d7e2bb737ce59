"""Refuse a step that would strand workloads; where it is forced, record each one by name."""

from __future__ import annotations

from collections.abc import Sequence

from pki.authority.context import AuthorityContext
from pki.authority.ledger import Transaction
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.hierarchy import trusted_roots
from pki.authority.rotation.readiness import Holder, find_holders, hanging_on, last_end
from pki.authority.rotation.requests import RootRequest
from pki.errors import WrongStepError, counted, join_first

_MOST_NAMED = 5


def check_withdrawal(
    context: AuthorityContext, transaction: Transaction, request: RootRequest, *, force: bool
) -> tuple[Holder, ...]:
    """Check that the roots which a request takes out of the trust bundle strand nobody.

    Returns:
        The holders that they strand, if that is forced.

    Raises:
        WrongStepError: if a workload would be stranded.
    """
    holders = find_holders(transaction, now=context.now())
    stranded: list[Holder] = []
    removed = request.removed_roots()
    for root in trusted_roots(transaction.issuers()):
        if root.certificate not in removed:
            continue
        hanging = hanging_on(holders, root)
        if not force:
            refuse_to_strand(hanging, f"to withdraw root {root.key_id}", "hang on it")
        stranded += hanging
    return tuple(stranded)


def record_withdrawal(
    context: AuthorityContext,
    transaction: Transaction,
    request: RootRequest,
    stranded: Sequence[Holder],
) -> None:
    """Record whom a withdrawal has stranded."""
    removed = {holder.root.key_id for holder in stranded}
    step = f"to withdraw root {', '.join(sorted(removed))} by request {request.digest[:16]}"
    record_stranded(context, stranded, step, transaction)


def refuse_to_strand(stranded: Sequence[Holder], step: str, why: str) -> None:
    """Refuse a step that strands workloads.

    Args:
        stranded: those that it strands.
        step: the step, e.g. ``to activate root 3d3ca8d8``.
        why: what is wrong with their certificates, e.g. ``hang on it``.

    Raises:
        WrongStepError: if there are any.
    """
    end = last_end(stranded)
    if end is None:
        return
    raise WrongStepError(
        f"{step} would strand {counted(len(stranded), 'holder')} of certificates that {why}: "
        f"{join_first([str(holder) for holder in stranded], _MOST_NAMED)}",
        remedy="Bring them the CA's trust bundle and new certificates (handfast ca rotate status "
        f"shows them), or wait until the last of these ends, {end:%Y-%m-%d %H:%M:%S} UTC. Where "
        "the workload is gone: handfast revoke NAME. --force strands them",
    )


def record_stranded(
    context: AuthorityContext, stranded: Sequence[Holder], step: str, transaction: Transaction
) -> None:
    """Record each workload that a forced step has stranded."""
    for holder in stranded:
        transaction.add_event(
            "stranded",
            f"{step} was forced, and stranded {holder}",
            at=context.now(),
            certificate_id=holder.certificate.id,
        )
        transaction.audit.append(
            context.audit_entry(
                AuditAction.STRAND,
                certificate=holder.certificate.certificate,
                subject=holder.certificate.spiffe_id,
                reason=step,
            )
        )
