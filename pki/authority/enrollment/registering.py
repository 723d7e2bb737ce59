"""Register workloads, and revoke what a changed registration no longer covers."""

from __future__ import annotations

from dataclasses import dataclass

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.ledger import CertificateRecord, Transaction
from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.authority.ledger.audit.entry import shorten_list
from pki.authority.publishing.room import with_room
from pki.authority.registrations import Caller, Registration, Revision
from pki.authority.revocation import REASONS, revoke_records
from pki.errors import (
    AlreadyThereError,
    ChangedMeanwhileError,
    NotFoundError,
)
from pki.identity import SpiffeId, derive_names
from pki.x509 import read_names
from pki.x509.profiles import LEAF_PROFILES, LeafNames

_NO_LONGER_COVERED = "privilege-withdrawn"


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a registration.

    Args:
        registration: as it is now; None if it was deleted.
        revision: its state; None if it was deleted.
        revoked: what was revoked because it is no longer covered.
    """

    registration: Registration | None
    revision: Revision | None
    revoked: tuple[CertificateRecord, ...]


def create_registration(
    context: AuthorityContext, caller: Caller, registration: Registration
) -> Revision:
    """Register a workload.

    Raises:
        NotPermittedError: if the caller may not decide on it, or the CA may not certify its names.
        AlreadyThereError: if it is registered already.
    """
    context = acting_as(context, caller.name)
    refusal = _refusal(context, AuditAction.REGISTER, registration.spiffe_id)
    with (
        recorded_refusals(context.ledger, refusal),
        context.ledger.transaction() as transaction,
    ):
        check_decision(context, caller, registration)
        revision = transaction.registrations.add(
            registration, by=caller.name, by_admin=caller.is_admin, at=context.now()
        )
        if revision is None:
            raise AlreadyThereError(
                f"{registration.spiffe_id} is registered already",
                remedy="Change it: handfast registration update",
            )
        transaction.audit.append(_entry(context, AuditAction.REGISTER, registration, revision))
        return revision


def get_registration(
    context: AuthorityContext, caller: Caller, spiffe_id: SpiffeId
) -> tuple[Registration, Revision]:
    """Return a registration.

    Raises:
        NotFoundError: if there is none.
        NotPermittedError: if the caller may not decide on this workload.
    """
    caller.check_may_decide_on(spiffe_id)
    with context.ledger.transaction() as transaction:
        return _existing(transaction, spiffe_id)


def list_registrations(
    context: AuthorityContext,
    caller: Caller,
    *,
    after: str = "",
    most: int = 100,
    prefix: SpiffeId | None = None,
) -> tuple[tuple[Registration, Revision], ...]:
    """Return the registrations that the caller may decide on, by SPIFFE ID.

    Args:
        context: the CA.
        caller: who asks.
        after: only those after this SPIFFE ID.
        most: how many at most.
        prefix: only this SPIFFE ID and those below it.
    """
    within: list[frozenset[str]] = []
    if not caller.is_admin:
        domain = f"spiffe://{context.settings.limits.trust_domain.name}"
        within.append(frozenset("/".join((domain, *item)) for item in caller.prefixes))
    if prefix is not None:
        within.append(frozenset([str(prefix)]))
    with context.ledger.transaction() as transaction:
        return transaction.registrations.page(after=after, most=most, within=within)


def update_registration(
    context: AuthorityContext,
    caller: Caller,
    registration: Registration,
    *,
    revision: int,
    keep_certificates: bool = False,
) -> Changed:
    """Replace a registration; revoke the certificates that it no longer covers.

    Args:
        context: the CA.
        caller: who asks.
        registration: the whole new registration.
        revision: the number that was read with the present one.
        keep_certificates: do not revoke. What is not covered can't be renewed all the same.

    Raises:
        NotFoundError: if there is none.
        ChangedMeanwhileError: if its revision is another one by now.
        NotPermittedError: if the caller may not decide on it, or the CA may not certify its names.
    """
    context = acting_as(context, caller.name)

    def change() -> Changed:
        return _update(
            context, caller, registration, revision=revision, keep_certificates=keep_certificates
        )

    # The reserve is for revocations alone: a change that revokes nothing takes none of it.
    if keep_certificates or not _uncovered_now(context, registration.spiffe_id, registration):
        return change()
    return with_room(context, change)


def _update(
    context: AuthorityContext,
    caller: Caller,
    registration: Registration,
    *,
    revision: int,
    keep_certificates: bool,
) -> Changed:
    spiffe_id = registration.spiffe_id
    refusal = _refusal(context, AuditAction.REGISTER_CHANGE, spiffe_id)
    with (
        recorded_refusals(context.ledger, refusal),
        context.ledger.transaction() as transaction,
    ):
        check_decision(context, caller, registration)
        present, _ = _existing(transaction, spiffe_id)
        # Who may not decide on the names that it has, may not take them away either.
        check_decision(context, caller, present)
        if not transaction.registrations.replace(
            registration, revision=revision, by_admin=caller.is_admin
        ):
            raise ChangedMeanwhileError(
                f"the registration of {spiffe_id} is not at revision {revision} any more",
                remedy="Read it again, and then change it",
            )
        revoked: tuple[CertificateRecord, ...] = ()
        if not keep_certificates:
            found = _uncovered(context, transaction, spiffe_id, registration)
            revoked = _revoke(context, transaction, found)
        changed, state = _existing(transaction, spiffe_id)
        transaction.audit.append(_entry(context, AuditAction.REGISTER_CHANGE, changed, state))
        return Changed(changed, state, revoked)


def delete_registration(
    context: AuthorityContext,
    caller: Caller,
    spiffe_id: SpiffeId,
    *,
    keep_certificates: bool = False,
) -> Changed:
    """Delete a registration with its unused tokens; revoke the workload's certificates.

    Args:
        context: the CA.
        caller: who asks.
        spiffe_id: the workload.
        keep_certificates: do not revoke. They can't be renewed all the same.

    Raises:
        NotFoundError: if there is none.
        NotPermittedError: if the caller may not decide on this workload.
    """
    context = acting_as(context, caller.name)

    def delete() -> Changed:
        return _delete(context, caller, spiffe_id, keep_certificates=keep_certificates)

    if keep_certificates or not _uncovered_now(context, spiffe_id, None):
        return delete()
    return with_room(context, delete)


def _delete(
    context: AuthorityContext, caller: Caller, spiffe_id: SpiffeId, *, keep_certificates: bool
) -> Changed:
    refusal = _refusal(context, AuditAction.REGISTER_DELETE, spiffe_id)
    with (
        recorded_refusals(context.ledger, refusal),
        context.ledger.transaction() as transaction,
    ):
        registered(context, transaction, caller, spiffe_id)
        transaction.registrations.delete(spiffe_id)
        transaction.audit.append(
            context.audit_entry(AuditAction.REGISTER_DELETE, subject=str(spiffe_id))
        )
        transaction.proofs.delete_tokens_of(str(spiffe_id))
        revoked: tuple[CertificateRecord, ...] = ()
        if not keep_certificates:
            found = _uncovered(context, transaction, spiffe_id, None)
            revoked = _revoke(context, transaction, found)
        return Changed(None, None, revoked)


def registered(
    context: AuthorityContext, transaction: Transaction, caller: Caller, spiffe_id: SpiffeId
) -> tuple[Registration, Revision]:
    """Return the registration of a workload that the caller may decide on.

    Raises:
        NotFoundError: if there is none.
        NotPermittedError: if the caller may not decide on it.
    """
    caller.check_may_decide_on(spiffe_id)
    found = _existing(transaction, spiffe_id)
    check_decision(context, caller, found[0])
    return found


def check_decision(context: AuthorityContext, caller: Caller, registration: Registration) -> None:
    """Check that a caller may decide on a workload with these names.

    Raises:
        NotPermittedError: if it may not, or the CA may not certify one of the names.
    """
    spiffe_id = registration.spiffe_id
    caller.check_may_decide_on(spiffe_id)
    context.signing.admission.check_names(
        spiffe_id, names_of(registration), by_admin=caller.is_admin
    )


def names_of(registration: Registration) -> LeafNames:
    """Return the names that the certificates of a registration have."""
    derived = derive_names(registration.spiffe_id)
    dns = dict.fromkeys([*([derived.dns] if derived.dns else []), *registration.dns_names])
    return LeafNames(
        derived.subject,
        registration.spiffe_id if registration.profile.needs_spiffe_id else None,
        tuple(dns),
        registration.ip_addresses,
    )


def _refusal(context: AuthorityContext, asked: AuditAction, spiffe_id: SpiffeId) -> AuditEntry:
    return context.audit_entry(AuditAction.REFUSE, subject=str(spiffe_id), asked=asked.value)


def _entry(
    context: AuthorityContext, action: AuditAction, registration: Registration, revision: Revision
) -> AuditEntry:
    """Return the entry that tells what a registration says from now on."""
    return context.audit_entry(
        action,
        subject=str(registration.spiffe_id),
        revision=revision.number,
        dns=shorten_list(registration.dns_names),
        ip=shorten_list(registration.ip_addresses),
        lifetime=int(registration.lifetime.total_seconds()),
        profile=registration.profile.name,
        proofs=sorted(proof.value for proof in registration.proofs),
        recoveries=registration.recovery.times,
    )


def _existing(transaction: Transaction, spiffe_id: SpiffeId) -> tuple[Registration, Revision]:
    found = transaction.registrations.get(spiffe_id)
    if found is None:
        raise NotFoundError(
            f"{spiffe_id} is not registered", remedy="See what is: handfast registration list"
        )
    return found


def _uncovered(
    context: AuthorityContext,
    transaction: Transaction,
    spiffe_id: SpiffeId,
    registration: Registration | None,
) -> list[CertificateRecord]:
    """Return the workload's certificates that a registration, if there is one, does not cover."""
    live = transaction.certificates_of_workload(str(spiffe_id), ends_after=context.now())
    return [item for item in live if registration is None or not is_covered(item, registration)]


def _uncovered_now(
    context: AuthorityContext, spiffe_id: SpiffeId, registration: Registration | None
) -> bool:
    """Return whether a change will revoke something, as far as can be told before it."""
    with context.ledger.snapshot() as transaction:
        found = _uncovered(context, transaction, spiffe_id, registration)
    return any(item.revoked_at is None for item in found)


def is_covered(record: CertificateRecord, registration: Registration) -> bool:
    """Return whether a registration covers a certificate that was issued before."""
    found = read_names(record.certificate)
    names = LeafNames(found.subject, found.spiffe_id, found.dns_names, found.ip_addresses)
    return registration.covers(names, LEAF_PROFILES[record.profile])


def _revoke(
    context: AuthorityContext,
    transaction: Transaction,
    records: list[CertificateRecord],
) -> tuple[CertificateRecord, ...]:
    if not records:
        return ()
    return revoke_records(context, transaction, records, REASONS[_NO_LONGER_COVERED])
