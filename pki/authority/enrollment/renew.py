"""Renew the certificate that a workload presented, for as long as its registration allows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from cryptography import x509

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.enrollment.obtained import (
    Obtained,
    Step,
    derived_names,
    obtained,
    order_of,
    run_in_steps,
    sign_for_request,
)
from pki.authority.enrollment.registering import is_covered
from pki.authority.issuing.renewal import check_renewable, renewable_record
from pki.authority.ledger import CertificateRecord
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.batching.needs import Needs
from pki.authority.ledger.rows import der_of
from pki.authority.registrations import Proof
from pki.authority.signing import PlannedLeaf
from pki.errors import InputError, NotRegisteredError, NotRenewableError
from pki.identity import SpiffeId
from pki.proofs import Purpose, check_binding
from pki.x509 import Request, read_names, read_request

Admit = Callable[[str, timedelta], object]


def _admit_all(line_id: str, lifetime: timedelta) -> None:
    del line_id, lifetime


def renew_own(
    context: AuthorityContext,
    presented: x509.Certificate,
    request: bytes,
    binding: bytes,
    *,
    admit: Admit = _admit_all,
) -> Obtained:
    """Renew a certificate whose holder has proved, in a handshake, that it has the key.

    The same request again gets the same certificate, for as long as the presented one is valid and
    neither is revoked. A request with another key means that two hold the presented certificate's
    key: it is refused, and its line is blocked.

    Args:
        context: the CA.
        presented: the certificate of the handshake.
        request: the certificate signing request, DER, with a new key.
        binding: the signature that binds the request to the presented certificate.
        admit: called with a line and a lifetime before a new certificate is issued; what it raises
            refuses that. A request that is repeated needs no admission.

    Raises:
        NotRenewableError: if the certificate may not be renewed.
        NotRegisteredError: if no registration covers it any more.
        NotPermittedError: if the request is not bound to the certificate, or asks for another name.
        InputError: if the request is malformed, or its key is not new.
    """
    parsed = read_request(request)
    check_binding(
        parsed.public_key,
        binding,
        Purpose.RENEW,
        context.settings.limits.trust_domain,
        proof=der_of(presented),
        request=request,
    )
    fingerprint = parsed.key.fingerprint
    name = read_names(presented).uris[0]
    context = acting_as(context, name)
    needs = Needs(
        (parsed.key,),
        (name,),
        derived_names(SpiffeId.parse(name)),
        (f"{presented.serial_number:x}",),
    )
    refusal = context.audit_entry(
        AuditAction.REFUSE, certificate=presented, asked=AuditAction.RENEW.value
    )

    def decide(step: Step) -> Obtained | PlannedLeaf | None:
        transaction = step.transaction
        record = renewable_record(context, presented, transaction)
        if record.key_fingerprint == fingerprint:
            raise InputError(
                "renewal needs a new key", remedy="Make one; the old one may have leaked"
            )
        renewal = transaction.renewal_of(record.id)
        if renewal is None:
            return _renew(context, step, record, parsed, admit)
        if renewal.key_fingerprint == fingerprint:
            check_renewable(context, renewal, transaction)
            return obtained(context, transaction, renewal, is_repeated=True)
        # Refused after this transaction: an exception here would undo the block.
        transaction.add_event(
            "second-renewal",
            f"certificate {record.serial} of {record.spiffe_id} was renewed to {renewal.serial}, "
            f"and its holder asked for another renewal, with the key {fingerprint}: somebody has a "
            "copy of its key, and its line is blocked",
            at=context.now(),
            certificate_id=record.id,
        )
        transaction.lines.block(
            [record.line_id], reason="one of its certificates was renewed twice", at=context.now()
        )
        transaction.audit.append(
            context.audit_entry(
                AuditAction.BLOCK_LINE,
                certificate=record.certificate,
                subject=record.spiffe_id,
                reason="second-renewal",
                line=record.line_id,
                renewed_to=renewal.serial,
                key=fingerprint,
            )
        )
        return None

    with recorded_refusals(context.ledger, refusal):
        result = run_in_steps(context, decide, needs)
    if result is not None:
        return result
    raise NotRenewableError(
        f"certificate {presented.serial_number:x} was renewed already, with another "
        "key; its line is blocked",
        remedy="If that was not you, its key is stolen: revoke it, and enroll with a new token",
    )


def _renew(
    context: AuthorityContext,
    step: Step,
    record: CertificateRecord,
    request: Request,
    admit: Admit,
) -> Obtained | PlannedLeaf:
    transaction = step.transaction
    found = transaction.registrations.get(SpiffeId.parse(record.spiffe_id))
    if found is None or not is_covered(record, found[0]):
        raise NotRegisteredError(
            f"no registration covers certificate {record.serial} of {record.spiffe_id}",
            remedy="Let a registrar register its names",
        )
    registration, revision = found
    admit(record.line_id, registration.lifetime)
    order = order_of(
        registration,
        request.key,
        Proof.RENEWAL,
        by_admin=revision.by_admin,
        renews=record,
    )
    result = sign_for_request(context, step, order, request)
    if isinstance(result, PlannedLeaf):
        return result
    renewed, notes = result
    return obtained(context, transaction, renewed, notes=notes)
