"""Revoke over the network: a workload its own line, and an admin everything."""

from __future__ import annotations

from cryptography import x509

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.ledger import CertificateRecord, Transaction
from pki.authority.ledger.audit import AuditAction
from pki.authority.publishing.revoking import revoke, revoke_or_pend
from pki.authority.publishing.revoking import revoke_workload as revoke_all_of
from pki.authority.registrations import Caller
from pki.authority.revocation import parse_reason, parse_serial, revoke_records
from pki.errors import NotFoundError, NotPermittedError
from pki.identity import SpiffeId
from pki.x509 import read_names


def revoke_own(
    context: AuthorityContext, presented: x509.Certificate, reason: str
) -> tuple[CertificateRecord, ...]:
    """Revoke the whole line of the certificate that a workload presented.

    Raises:
        NotFoundError: if this CA did not issue it.
        InputError: if there is no such reason.
    """
    flag = parse_reason(reason)
    context = acting_as(context, read_names(presented).uris[0])

    def found(transaction: Transaction) -> CertificateRecord:
        record = transaction.certificate_by_serial(f"{presented.serial_number:x}")
        if record is None or record.certificate != presented:
            raise NotFoundError("the certificate is not one that this CA issued")
        return record

    def record(on: AuthorityContext) -> tuple[CertificateRecord, ...]:
        with on.ledger.transaction() as transaction:
            return revoke_records(on, transaction, [found(transaction)], flag, whole_line=True)

    return revoke_or_pend(
        context,
        record,
        lambda transaction: [found(transaction).serial],
        flag,
        whole_line=True,
    )


def revoke_serial(
    context: AuthorityContext,
    caller: Caller,
    serial: str,
    reason: str,
    *,
    whole_line: bool = False,
) -> tuple[CertificateRecord, ...]:
    """Revoke a certificate with all its renewals.

    Raises:
        NotPermittedError: if the caller is no admin.
        InputError: if there is no such certificate or reason.
    """
    context = acting_as(context, caller.name)
    _check_admin(context, caller)
    flag = parse_reason(reason)
    return revoke(context, [parse_serial(serial)], flag, whole_line=whole_line)


def revoke_workload(
    context: AuthorityContext, caller: Caller, spiffe_id: SpiffeId, reason: str
) -> tuple[CertificateRecord, ...]:
    """Revoke every certificate of a workload that has not ended.

    Raises:
        NotPermittedError: if the caller is no admin.
        InputError: if it has none, or there is no such reason.
    """
    context = acting_as(context, caller.name)
    _check_admin(context, caller)
    return revoke_all_of(context, spiffe_id, parse_reason(reason))


def check_may_revoke(caller: Caller) -> None:
    """Check that a caller may revoke more than its own line. Quick: it asks the caller alone.

    Raises:
        NotPermittedError: if it is no admin.
    """
    if not caller.is_admin:
        raise NotPermittedError(
            f"{caller.name} may revoke its own certificates only", remedy="Ask a ca-admin"
        )


def _check_admin(context: AuthorityContext, caller: Caller) -> None:
    refusal = context.audit_entry(AuditAction.REFUSE, asked=AuditAction.REVOKE.value)
    # A refusal waits for a ledger that is held no longer than a revocation does.
    ledger = context.ledger.waiting(context.revocation_wait)
    with recorded_refusals(ledger, refusal):
        check_may_revoke(caller)
