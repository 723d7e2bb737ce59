"""Issue leaves: for a name or for a request. ``pki.authority.issuing.renewal`` renews them.

The stages of a request:

1. Parse it (``pki.x509.read_request``, called by ``Authority``). All that follows is one
   transaction.
2. Check its names against the order. For a renewal, the certificate to renew gives the order,
   after a check that it may be renewed.
3. Look for the certificate that the same order got before: its answer may have been lost.
4. Check that the clock is within the issuing CA's validity.
5. Admit it (``pki.authority.admission``): the rules on its names; its key, which must not be one of
   the CA's own (``refuse_ca_key``), another workload's or a leaked one; the claim to its names.
6. Sign it, check the certificate against its profile (or compare it with one that was checked), and
   record it, with its entry in the audit log.
7. Commit. Only then is the certificate handed out. A refusal since stage 2 is recorded too.

An external signer signs between two transactions (``pki.authority.signing``): all stages from 2 on
are run in both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from pki.authority.admission import claims_of
from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.issued import Issued
from pki.authority.issuing.repeats import find_repeated
from pki.authority.ledger import CertificateRecord, Transaction
from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.authority.ledger.audit.entry import shorten_list
from pki.authority.ledger.batching.needs import Needs
from pki.authority.ledger.records import NewCertificate
from pki.authority.lifetimes import check_leaf_lifetime, duration_text
from pki.authority.orders import LeafOrder, no_dns_note
from pki.authority.registrations import Proof
from pki.authority.signing import PlannedLeaf, SignedLeaf
from pki.authority.signing_steps import sign_in_steps
from pki.errors import InputError, NotPermittedError, quote_untrusted
from pki.identity import SpiffeId, Subject, derive_names
from pki.keys import PrivateKey
from pki.x509 import CrlSet, Request, TrustBundle


def issue(
    context: AuthorityContext,
    order: LeafOrder,
    *,
    key: PrivateKey | None = None,
    request: Request | None = None,
) -> Issued:
    """Issue a leaf for an order.

    The same order for the same key within ten minutes gets the same certificate, because the first
    answer may have been lost.

    Args:
        context: the CA.
        order: the order.
        key: the private key, if the CA made it.
        request: the request (CSR) that asks for it; it may ask for the names of the order only.

    Raises:
        NotPermittedError: if the CA's rules forbid it, the request asks for another name, or the
            certificate that was issued for the same order was revoked meanwhile.
    """
    check_leaf_lifetime(order.lifetime)

    def decide(transaction: Transaction, signed: SignedLeaf | None) -> Issued | PlannedLeaf:
        checked = order if request is None else order_for_request(order, request)
        repeated = find_repeated(checked, transaction, now=context.now())
        if repeated is not None:
            note = (
                f"this certificate was issued at {repeated.issued_at} for the same request, and is "
                "returned again"
            )
            return hand_out(
                context,
                transaction,
                order.spiffe_id,
                repeated.certificate,
                key=key,
                notes=(note,),
            )
        result = sign_order(context, checked, transaction, signed)
        if isinstance(result, PlannedLeaf):
            return result
        new, notes = result
        trust = trust_of(context, transaction)
        return trust.issued(order.spiffe_id, new.certificate, key=key, notes=notes)

    with recorded_refusals(context.ledger, refusal_entry(context, order)):
        return sign_in_steps(context.ledger, decide, needs_of(order))


def refusal_entry(context: AuthorityContext, order: LeafOrder) -> AuditEntry:
    """Return the entry about an order that is refused, but for its reason."""
    return context.audit_entry(
        AuditAction.REFUSE,
        subject=str(order.spiffe_id),
        asked=AuditAction.ISSUE.value,
        dns=shorten_list(order.extra_dns),
        ip=shorten_list(order.extra_ip),
    )


def order_for_request(order: LeafOrder, request: Request) -> LeafOrder:
    """Check a request against the order; return the order with the request's public key.

    Raises:
        NotPermittedError: if the request asks for a name that is not in the order.
    """
    ordered = order.names()
    requested = request.names
    for uri in requested.uris:
        if uri != str(ordered.spiffe_id):
            raise NotPermittedError(
                f"the request (CSR) asks for {quote_untrusted(uri)}, and the certificate is for "
                f"{order.spiffe_id}"
            )
    for name in requested.dns_names:
        if name not in ordered.dns_names:
            raise NotPermittedError(
                f"the request (CSR) asks for the DNS name {name}, which is not among the names "
                "to certify",
                remedy="Add it with --dns NAME, if the workload may have it",
            )
    for address in requested.ip_addresses:
        if address not in ordered.ip_addresses:
            raise NotPermittedError(
                f"the request (CSR) asks for the address {address}, which is not among the names "
                "to certify",
                remedy="Add it with --ip ADDRESS, if the workload may have it",
            )
    if requested.subject not in _permitted_subjects(order.spiffe_id):
        raise NotPermittedError(
            f"the request (CSR) asks for the subject {quote_untrusted(requested.subject)}",
            remedy=f"Leave it empty, or use {derive_names(order.spiffe_id).subject}",
        )
    return replace(order, key=request.key) if request.key != order.key else order


def sign_order(
    context: AuthorityContext,
    order: LeafOrder,
    transaction: Transaction,
    signed: SignedLeaf | None,
) -> tuple[NewCertificate, tuple[str, ...]] | PlannedLeaf:
    """Sign and record in the transaction; or plan what an external signer signs, or record that.

    Args:
        context: the CA.
        order: what is to be signed.
        transaction: of the ledger.
        signed: the leaf that an external signer has signed meanwhile; None the first time.

    Returns:
        The leaf as it was recorded, and notes on what differs from the order; or what an external
        signer has to sign.
    """
    now = context.now()
    if signed is None:
        by = context.active_ca(transaction)
        planned = context.signing.plan_leaf(order, by, transaction, now=now)
        # Before it is signed, because it may be refused here.
        notes = notes_on(planned, now=now)
        if planned.by.is_external:
            return planned
        signed = planned.sign()
    else:
        notes = notes_on(signed.planned, now=now)
    new = context.signing.record_leaf(signed, transaction, now=now)
    order = signed.planned.order
    renewed = transaction.certificate_by_id(order.renewed_from) if order.renewed_from else None
    transaction.audit.append(issue_entry(context, signed, renewed, now=now))
    return new, notes


def issue_entry(
    context: AuthorityContext,
    signed: SignedLeaf,
    renewed: CertificateRecord | None,
    *,
    now: datetime,
) -> AuditEntry:
    """Return the entry about a leaf.

    Args:
        context: the CA.
        signed: the leaf.
        renewed: what it renews; None if it renews nothing.
        now: the time.
    """
    order = signed.planned.order
    return context.audit_entry(
        AuditAction.ISSUE if renewed is None else AuditAction.RENEW,
        certificate=signed.leaf,
        at=now,
        subject=str(order.spiffe_id),
        profile=order.profile.name,
        proof=order.proof.value,
        **({} if renewed is None else {"renewed_from": renewed.serial}),
    )


def notes_on(planned: PlannedLeaf, *, now: datetime) -> tuple[str, ...]:
    """Return notes on what differs from the order.

    Raises:
        InputError: if the issuing CA ends before the lifetime that was asked for.
    """
    order, not_after = planned.order, planned.validity.not_after
    notes = []
    if not_after < now + order.lifetime:
        end = f"{not_after:%Y-%m-%d %H:%M:%S} UTC"
        if order.is_exact:
            # The exception undoes the record: the certificate is never handed out.
            raise InputError(
                f"lifetime {duration_text(order.lifetime)} is longer than that of the issuing CA, "
                f"which expires at {end}",
                remedy="Make a new issuing CA first (handfast ca rotate), or ask for less",
            )
        notes.append(f"the certificate expires with its issuing CA, at {end}")
    if order.extra_ip:
        notes.append(
            "gRPC can't check constraints on addresses, and refuses certificates with addresses"
        )
    if order.profile.needs_spiffe_id and derive_names(order.spiffe_id).dns is None:
        notes.append(no_dns_note(order.spiffe_id))
    return tuple(notes)


def hand_out(
    context: AuthorityContext,
    transaction: Transaction,
    spiffe_id: SpiffeId,
    leaf: x509.Certificate,
    *,
    key: PrivateKey | None,
    notes: tuple[str, ...],
) -> Issued:
    """Return a certificate that was issued before with all that its workload needs.

    Only after the transaction commits may anybody see it.

    Raises:
        NotPermittedError: if a revocation of it is pending.
    """
    context.pending.refuse(f"{leaf.serial_number:x}")
    return trust_of(context, transaction).issued(spiffe_id, leaf, key=key, notes=notes)


@dataclass(frozen=True, slots=True)
class Trust:
    """What goes out with each certificate."""

    bundle: TrustBundle
    crls: CrlSet
    own: tuple[x509.Certificate, ...]
    names: tuple[x509.Name, ...]
    """Of its own certificates, each in its place: the library decodes them anew each time."""

    def issued(
        self,
        spiffe_id: SpiffeId,
        leaf: x509.Certificate,
        *,
        key: PrivateKey | None,
        notes: tuple[str, ...],
    ) -> Issued:
        """Return a certificate with it."""
        issuer = self.own[self.names.index(leaf.issuer)]
        return Issued(spiffe_id, (leaf, issuer), self.bundle, self.crls, key, notes, self.own)


def trust_of(context: AuthorityContext, transaction: Transaction) -> Trust:
    """Return what goes out with the certificates of this transaction."""
    now, lists_used = context.now(), context.pending.lists_used

    def make() -> Trust:
        own = tuple(item.certificate for item in transaction.issuers())
        bundle, crls = context.trust(transaction, known=context.recent.lists)
        context.recent.lists = crls.crls
        return Trust(bundle, crls, own, tuple(item.subject for item in own))

    def recent() -> Trust:
        parts = (now, lists_used, transaction.issuers(), transaction.crls.numbers())
        return context.recent.of(parts, make)

    return transaction.made_of_trust((Trust, now, lists_used), recent)


def needs_of(order: LeafOrder) -> Needs:
    """Return what the ledger will be asked for when a leaf is issued for an order."""
    owner = str(order.spiffe_id)
    names = tuple(claim.value for claim in claims_of(order, until=datetime.min))
    return Needs((order.key,), (owner,) if order.proof is not Proof.OPERATOR else (), names)


def _permitted_subjects(spiffe_id: SpiffeId) -> tuple[Subject, ...]:
    subject = derive_names(spiffe_id).subject
    return (Subject(()), subject, Subject(subject.rdns[-1:]))
