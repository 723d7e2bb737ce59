"""Renew a leaf whose certificate is still good: the same names, a new key.

The stages are those of :mod:`pki.authority.issuing.issuance`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from cryptography import x509

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.issued import Issued
from pki.authority.issuing.issuance import hand_out, order_for_request, sign_order, trust_of
from pki.authority.ledger import CertificateRecord, IssuerStatus, Transaction
from pki.authority.ledger.audit import AuditAction
from pki.authority.lifetimes import check_leaf_lifetime
from pki.authority.orders import LeafOrder
from pki.authority.registrations import Proof
from pki.authority.signing import PlannedLeaf, SignedLeaf
from pki.authority.signing_steps import sign_in_steps
from pki.errors import InputError, NotPermittedError, NotRenewableError
from pki.identity import SpiffeId, derive_names
from pki.keys import IdentifiedKey, PrivateKey
from pki.x509 import Request, read_names
from pki.x509.profiles import LEAF_PROFILES


def renew(
    context: AuthorityContext,
    old: x509.Certificate,
    public_key: IdentifiedKey,
    *,
    key: PrivateKey | None,
    lifetime: timedelta | None,
    request: Request | None = None,
) -> Issued:
    """Renew a certificate: same names, new key.

    A repeated renewal with the same key returns the certificate that was issued for that key,
    because the first answer may have been lost. A renewal with another key is refused and recorded,
    because somebody else may hold the certificate's key.

    Args:
        context: the CA.
        old: the certificate to renew.
        public_key: the new key.
        key: the new private key, if the CA made it.
        lifetime: None takes that of the old certificate.
        request: the request (CSR) that asks for it; it may ask for the old names only.

    Raises:
        NotPermittedError: if this CA did not issue the certificate, or it has ended, was revoked or
            was renewed already, or the request asks for another name.
        InputError: if the key is not new.
    """
    fingerprint = public_key.fingerprint
    refusal = context.audit_entry(
        AuditAction.REFUSE, certificate=old, asked=AuditAction.RENEW.value
    )

    def decide(transaction: Transaction, signed: SignedLeaf | None) -> Issued | PlannedLeaf | None:
        record = renewable_record(context, old, transaction)
        if request is not None:
            order_for_request(_renewal_order(record, public_key, None), request)
        renewal = transaction.renewal_of(record.id)
        if renewal is None:
            order = _renewal_order(record, public_key, lifetime)
            result = sign_order(context, order, transaction, signed)
            if isinstance(result, PlannedLeaf):
                return result
            new, notes = result
            trust = trust_of(context, transaction)
            return trust.issued(order.spiffe_id, new.certificate, key=key, notes=notes)
        if renewal.key_fingerprint == fingerprint:
            check_renewable(context, renewal, transaction)
            spiffe_id = SpiffeId.parse(renewal.spiffe_id)
            return hand_out(context, transaction, spiffe_id, renewal.certificate, key=key, notes=())
        # Refused after this transaction: an exception here would undo the record of the event.
        transaction.add_event(
            "second-renewal",
            f"certificate {record.serial} of {record.spiffe_id} was renewed to {renewal.serial}, "
            f"and another renewal was asked for, with the key {fingerprint}",
            at=context.now(),
            certificate_id=record.id,
        )
        transaction.audit.append(
            replace(
                refusal,
                subject=record.spiffe_id,
                reason="second-renewal",
                details={**refusal.details, "renewed_to": renewal.serial, "key": fingerprint},
            )
        )
        return None

    with recorded_refusals(context.ledger, refusal):
        issued = sign_in_steps(context.ledger, decide)
    if issued is not None:
        return issued
    raise NotPermittedError(
        f"certificate {old.serial_number:x} was renewed already, with another key",
        remedy="If that was not you, its key is stolen: revoke it, and issue a new one",
    )


def renewable_record(
    context: AuthorityContext, old: x509.Certificate, transaction: Transaction
) -> CertificateRecord:
    """Return the record of a certificate that may be renewed.

    Raises:
        NotRenewableError: if this CA did not issue it, or it has ended or was revoked, or its line
            is blocked.
    """
    record = transaction.certificate_by_serial(f"{old.serial_number:x}")
    if record is None or record.certificate != old:
        raise NotRenewableError(
            "the certificate is not one that this CA issued", remedy="Issue a new one instead"
        )
    check_renewable(context, record, transaction)
    return record


def check_renewable(
    context: AuthorityContext, record: CertificateRecord, transaction: Transaction
) -> None:
    """Check that nothing bars the renewal of a certificate.

    Raises:
        NotRenewableError: if it has ended or was revoked, its issuing CA is distrusted, or its line
            is blocked.
    """
    remedy = f"Issue a new one: handfast issue {record.spiffe_id}"
    if record.revoked_at is not None or context.pending.holds(record.serial):
        raise NotRenewableError(f"certificate {record.serial} was revoked", remedy=remedy)
    if record.not_after < context.now():
        raise NotRenewableError(
            f"certificate {record.serial} expired at {record.not_after}", remedy=remedy
        )
    check_not_distrusted(record, transaction)
    line = transaction.lines.get(record.line_id)
    if line is None or line.blocked_at is not None:
        why = "unknown" if line is None else line.blocked_reason
        raise NotRenewableError(
            f"the line of certificate {record.serial} is blocked: {why}",
            remedy=f"Enroll {record.spiffe_id} again, with a new token, or issue a new certificate",
        )


def check_not_distrusted(record: CertificateRecord, transaction: Transaction) -> None:
    """Check that the issuing CA of a certificate is not distrusted.

    A withdrawn one is no obstacle: what replaces the certificate is signed under another root, and
    a workload that slept through a whole rotation comes back so.

    Raises:
        NotRenewableError: if it is.
    """
    issuer = next(item for item in transaction.issuers() if item.id == record.issuer_id)
    if issuer.status is IssuerStatus.DISTRUSTED:
        raise NotRenewableError(
            f"certificate {record.serial} is from issuing CA {issuer.key_id}, which was distrusted",
            remedy=f"Issue a new one: handfast issue {record.spiffe_id}",
        )


def _renewal_order(
    record: CertificateRecord, public_key: IdentifiedKey, lifetime: timedelta | None
) -> LeafOrder:
    if record.key_fingerprint == public_key.fingerprint:
        raise InputError("renewal needs a new key", remedy="Make one; the old one may have leaked")
    names = read_names(record.certificate)
    spiffe_id = SpiffeId.parse(record.spiffe_id)
    derived = derive_names(spiffe_id).dns
    if lifetime is not None:
        check_leaf_lifetime(lifetime)
    return LeafOrder(
        spiffe_id,
        LEAF_PROFILES[record.profile],
        public_key,
        lifetime if lifetime is not None else record.not_after - record.issued_at,
        Proof.OPERATOR,
        True,
        tuple(name for name in names.dns_names if name != derived),
        names.ip_addresses,
        record.id,
        record.line_id,
        is_exact=lifetime is not None,
    )
