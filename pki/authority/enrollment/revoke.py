"""Revoke over the network: a workload its own line, and an admin everything."""

from __future__ import annotations

from cryptography import x509

from pki.authority.context import AuthorityContext
from pki.authority.ledger import CertificateRecord
from pki.authority.registrations import Caller
from pki.authority.revocation import parse_reason, parse_serial, revoke, revoke_records
from pki.authority.revocation import revoke_workload as revoke_all_of
from pki.errors import NotFoundError, NotPermittedError
from pki.identity import SpiffeId


def revoke_own(
    context: AuthorityContext, presented: x509.Certificate, reason: str
) -> tuple[CertificateRecord, ...]:
    """Revoke the whole line of the certificate that a workload presented.

    Raises:
        NotFoundError: if this CA did not issue it.
        InputError: if there is no such reason.
    """
    flag = parse_reason(reason)
    with context.ledger.transaction() as transaction:
        record = transaction.certificate_by_serial(f"{presented.serial_number:x}")
        if record is None or record.certificate != presented:
            raise NotFoundError("the certificate is not one that this CA issued")
        return revoke_records(context, transaction, [record], flag, whole_line=True)


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
    _check_admin(caller)
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
    _check_admin(caller)
    return revoke_all_of(context, spiffe_id, parse_reason(reason))


def _check_admin(caller: Caller) -> None:
    if not caller.is_admin:
        raise NotPermittedError(
            f"{caller.name} may revoke its own certificates only", remedy="Ask a ca-admin"
        )
