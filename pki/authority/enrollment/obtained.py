"""What a workload obtains: the certificate, and how the line that it belongs to may recover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from pki.authority.context import AuthorityContext
from pki.authority.issued import Issued
from pki.authority.issuing.issuance import order_for_request, sign_order, trust_of
from pki.authority.ledger import CertificateRecord, Transaction
from pki.authority.ledger.batching.needs import NOTHING, Needs
from pki.authority.ledger.records import NewCertificate
from pki.authority.orders import LeafOrder
from pki.authority.registrations import Proof, Registration
from pki.authority.signing import PlannedLeaf, SignedLeaf
from pki.authority.signing_steps import sign_in_steps
from pki.errors import LedgerError
from pki.identity import SpiffeId, derive_names
from pki.keys import IdentifiedKey
from pki.proofs import RecoveryId
from pki.x509 import Request


@dataclass(frozen=True, slots=True)
class Obtained:
    """A certificate that a workload obtained.

    Args:
        issued: the certificate, with all that its workload needs; the key stayed with the workload.
        lifetime: of the certificate, counted from the moment of issue.
        recovery_id: names the line for a recovery; None if the line can't recover.
        recoveries_left: how many recoveries are left in the present period.
        is_repeated: whether it was issued before, for the same request.
    """

    issued: Issued
    lifetime: timedelta
    recovery_id: RecoveryId | None
    recoveries_left: int
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction of an operation: with an external signer there are two of them.

    Args:
        transaction: of the ledger.
        signed: the leaf that an external signer has signed meanwhile; None the first time.
    """

    transaction: Transaction
    signed: SignedLeaf | None


_Result = TypeVar("_Result")


def run_in_steps(
    context: AuthorityContext,
    decide: Callable[[Step], _Result | PlannedLeaf],
    needs: Needs = NOTHING,
) -> _Result:
    """Run an operation in one transaction, or in two around an external signature."""
    return sign_in_steps(
        context.ledger, lambda transaction, signed: decide(Step(transaction, signed)), needs
    )


def order_of(
    registration: Registration,
    key: IdentifiedKey,
    proof: Proof,
    *,
    by_admin: bool,
    renews: CertificateRecord | None = None,
) -> LeafOrder:
    """Return the order for the certificate that a registration allows.

    Args:
        registration: the workload's.
        key: the leaf's public key.
        proof: how the workload was proved.
        by_admin: whether only admins have decided on it.
        renews: the certificate that it takes the place of; None starts a line.
    """
    return LeafOrder(
        registration.spiffe_id,
        registration.profile,
        key,
        registration.lifetime,
        proof,
        by_admin,
        registration.dns_names,
        registration.ip_addresses,
        None if renews is None else renews.id,
        None if renews is None else renews.line_id,
    )


def derived_names(spiffe_id: SpiffeId) -> tuple[str, ...]:
    """Return the names that every certificate of a workload claims."""
    derived = derive_names(spiffe_id)
    dns = (derived.dns.name,) if derived.dns else ()
    return (str(spiffe_id), *dns, str(derived.subject))


def sign_for_request(
    context: AuthorityContext,
    step: Step,
    order: LeafOrder,
    request: Request,
) -> tuple[NewCertificate, tuple[str, ...]] | PlannedLeaf:
    """Sign what a registration allows, for a request that asks for nothing else.

    Returns:
        The certificate as it was recorded, and notes on what differs from the order; or what an
        external signer has to sign before the operation can go on.

    Raises:
        NotPermittedError: if the request asks for another name, or the CA's rules forbid the order.
    """
    return sign_order(context, order_for_request(order, request), step.transaction, step.signed)


def record_of(transaction: Transaction, new: NewCertificate) -> CertificateRecord:
    """Return the record of a certificate that this transaction has added."""
    record = transaction.certificate_by_serial(new.serial)
    if record is None:
        raise LedgerError("the ledger does not hold the certificate that was just recorded")
    return record


def obtained(
    context: AuthorityContext,
    transaction: Transaction,
    record: CertificateRecord | NewCertificate,
    *,
    notes: tuple[str, ...] = (),
    is_repeated: bool = False,
) -> Obtained:
    """Return what a workload obtains with a certificate of the ledger."""
    spiffe_id = SpiffeId.parse(record.spiffe_id)
    if isinstance(record, CertificateRecord):
        context.pending.refuse(record.serial)
    trust = trust_of(context, transaction)
    issued = trust.issued(spiffe_id, record.certificate, key=None, notes=notes)
    lifetime = record.not_after - record.issued_at
    found = transaction.registrations.get(spiffe_id)
    line = transaction.lines.get(record.line_id)
    if found is None or line is None or line.recovery_key is None or not found[0].recovery.times:
        return Obtained(issued, lifetime, None, 0, is_repeated)
    rule = found[0].recovery
    made = transaction.lines.recoveries(line.id, since=context.now() - rule.within)
    recovery_id = RecoveryId.of(transaction.proofs.mac_key(), bytes.fromhex(line.id))
    return Obtained(issued, lifetime, recovery_id, max(0, rule.times - made), is_repeated)
