"""Replace a root: prepare, distribute, activate, withdraw. Each step is refused before its time.

1. Prepare: a new trust bundle holds the old and the new root, signed by both. An issuing CA under
   the new root is made with it; it signs no leaf yet.
2. Distribute: every workload gets that bundle and the CRLs. Those that follow the CA report it.
3. Activate: leaves are issued under the new root. Refused while a workload is not known to trust
   it.
4. Withdraw: a new trust bundle holds the new root alone, signed by it. Refused while an unexpired
   certificate hangs on the old root.

No certificate is cross-signed: the bundle leads, so everybody trusts a root before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509

from pki.authority.admission import refuse_ca_key
from pki.authority.context import AuthorityContext
from pki.authority.directory import key_id_of
from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.hierarchy import active_root, root_with_status
from pki.authority.orders import ca_subject
from pki.authority.rotation.issuing import (
    Prepared,
    activate,
    is_same_issuing,
    issuer_request,
    prepared_under,
    refuse_another,
)
from pki.authority.rotation.issuing_keys import new_issuing_key, new_issuing_signer, record_key
from pki.authority.rotation.pending import asked_again, pending_request
from pki.authority.rotation.planning import plan_request
from pki.authority.rotation.readiness import Holder, find_holders, hanging_on, without_root
from pki.authority.rotation.recording import carry_out, forced_detail
from pki.authority.rotation.requests import Purpose, RootRequest
from pki.authority.rotation.root import key_id_of_root, make_root
from pki.authority.rotation.stranding import (
    record_stranded,
    record_withdrawal,
    refuse_to_strand,
)
from pki.authority.rotation.tokens import answer_with_tokens
from pki.authority.signers import FileSigner
from pki.authority.signing import check_validity
from pki.errors import InputError, NotPermittedError, StateError, WrongStepError, quote_untrusted
from pki.keys import IdentifiedKey, KeyType, generate_key
from pki.x509.decoding import public_key_of
from pki.x509.profiles import RootProfile, rules
from pki.x509.profiles.ca import trust_domain_of_ca


@dataclass(frozen=True, slots=True)
class RootPlan:
    """The settings of a new root and of its first issuing CA.

    Args:
        key_type: of the issuing CA's key, and of the root's if it is made here.
        root_lifetime: of a root that is made here.
        issuing_lifetime: of the issuing CA.
    """

    key_type: KeyType
    root_lifetime: timedelta
    issuing_lifetime: timedelta


def prepare_root(
    context: AuthorityContext,
    certificate: x509.Certificate | None,
    plan: RootPlan,
    *,
    may_wait: bool = True,
) -> Prepared:
    """Prepare a new root: a trust bundle with both roots, and an issuing CA under the new one.

    Args:
        context: the CA.
        certificate: the new root's, as ``handfast ca root new`` made it. None makes the root here,
            where the active root's key must be too.
        plan: the settings.
        may_wait: if a root's key is not there, keep a request for it.

    Raises:
        WrongStepError: if another root rotation is under way.
        StateError: if a key is missing.
        InputError: if the certificate is no root that can take the place of the active one.
    """
    with context.ledger.transaction() as transaction:
        _refuse_second_rotation(transaction)
        root = active_root(transaction.issuers())
        check_validity(root.certificate, context.now(), what="root")
        # Opened before a new key is made, so that an error about this one comes first.
        if certificate is None and context.root_ca(root, transaction).is_external:
            raise StateError(
                "the root's key is in a token, and a new root made here would be in a file",
                remedy="Make it where roots are kept (handfast ca root new), and name its "
                "certificate: --root FILE",
            )
        again = asked_again(context, transaction, lambda kept: _adds(kept, certificate, plan))
        if may_wait and again is not None:
            return Prepared(None, again)
    new = certificate if certificate is not None else _make_root_here(context, plan)
    signer = new_issuing_signer(context, plan.key_type, None)
    key_id = key_id_of(signer.key)
    with new_issuing_key(context, signer) as unused, context.ledger.transaction() as transaction:
        record_key(context, transaction, key_id, unused)
        _refuse_second_rotation(transaction)
        _check_new_root(context, new, transaction)
        issuing = issuer_request(
            context, new, signer.key, lifetime=plan.issuing_lifetime, transaction=transaction
        )
        request = plan_request(
            context, transaction, Purpose.PREPARE_ROOT, issuing=issuing, added=new
        )
        is_done = carry_out(context, transaction, request, may_wait=may_wait)
    if not is_done and not answer_with_tokens(context, request, may_wait=may_wait):
        return Prepared(None, request)
    with context.ledger.transaction() as transaction:
        issuers = transaction.issuers()
        return Prepared(next(item for item in issuers if item.key_id == key_id), None)


def activate_root(
    context: AuthorityContext, key_id: str | None = None, *, force: bool = False
) -> tuple[IssuerRecord, tuple[Holder, ...]]:
    """Activate the prepared root and its issuing CA; the root before stays trusted.

    Args:
        context: the CA.
        key_id: its whole key id; None takes the one that is prepared. One that is active already
            stays so.
        force: activate it even if that strands workloads; each one is recorded.

    Returns:
        The active root, and the holders that this has stranded.

    Raises:
        WrongStepError: if no root is prepared, or another one, or a workload would be stranded.
    """
    with context.ledger.transaction() as transaction:
        issuers = transaction.issuers()
        active = active_root(issuers)
        if active.key_id == key_id:
            return active, ()
        prepared = root_with_status(issuers, IssuerStatus.PREPARED)
        if prepared is None:
            raise _no_step_error(context, transaction, "activated")
        refuse_another(prepared, key_id, "root")
        issuing = prepared_under(prepared, issuers)
        if issuing is None:
            raise WrongStepError(
                f"root {prepared.key_id} has no issuing CA that is prepared",
                remedy=f"Give this root up (handfast ca root withdraw {prepared.key_id}), and "
                "prepare another: handfast ca root prepare",
            )
        holders = find_holders(transaction, now=context.now())
        silent = without_root(holders, prepared, transaction)
        step = f"to activate root {prepared.key_id}"
        if not force:
            refuse_to_strand(silent, step, "are not known to trust it")
        record_stranded(context, silent, step, transaction)
        transaction.set_status(active.id, IssuerStatus.SUPERSEDED)
        transaction.set_status(prepared.id, IssuerStatus.ACTIVE)
        transaction.audit.append(
            context.audit_entry(
                AuditAction.ACTIVATE,
                certificate=prepared.certificate,
                root=prepared.key_id,
                **forced_detail(forced=force),
            )
        )
        # After the root's entry: the last activation that the log names is the issuing CA's.
        activate(context, issuing, transaction)
        return active_root(transaction.issuers()), silent


def withdraw_root(
    context: AuthorityContext,
    key_id: str | None = None,
    *,
    force: bool = False,
    may_wait: bool = True,
) -> tuple[RootRequest | None, tuple[Holder, ...]]:
    """Take a root out of the trust bundle, and with it all that hangs on it.

    Args:
        context: the CA.
        key_id: of the root, or a prefix; None takes the superseded one. A root that is prepared and
            was never activated can be withdrawn too, which gives its rotation up.
        force: withdraw it even if that strands workloads; each one is recorded.
        may_wait: if no key for the new bundle is there, keep a request for it. It may be signed
            while certificates still hang on the root, and is imported when none does.

    Returns:
        The request, if it waits; and the holders that hang on the root now. A root that is
        withdrawn already stays so.

    Raises:
        InputError: if there is no such root.
        WrongStepError: if it is not the root's turn, or a workload would be stranded.
    """
    with context.ledger.transaction() as transaction:
        root = _root_to_withdraw(context, transaction, key_id)
        if root.status is IssuerStatus.WITHDRAWN:
            return None, ()
        hanging = hanging_on(find_holders(transaction, now=context.now()), root)
        again = asked_again(
            context, transaction, lambda kept: kept.removed_roots() == (root.certificate,)
        )
        if may_wait and again is not None:
            return again, hanging
        request = plan_request(context, transaction, Purpose.WITHDRAW_ROOT, removed=root)
        if carry_out(context, transaction, request, may_wait=may_wait, forced=force):
            if not force:
                # The exception undoes the withdrawal.
                refuse_to_strand(hanging, f"to withdraw root {root.key_id}", "hang on it")
            record_withdrawal(context, transaction, request, hanging)
            return None, hanging
    # Whether it strands anybody is decided when the answer comes.
    if answer_with_tokens(context, request, may_wait=may_wait, force=force):
        return None, hanging
    return request, hanging


def _make_root_here(context: AuthorityContext, plan: RootPlan) -> x509.Certificate:
    key = generate_key(plan.key_type)
    certificate = make_root(
        context.settings.limits.trust_domain,
        key,
        lifetime=plan.root_lifetime,
        issuing_lifetime=plan.issuing_lifetime,
        backdate=context.settings.backdate,
        now=context.now(),
    )
    path = context.directory.later_root_key(key_id_of(key))
    context.directory.write_signer(path, FileSigner(key, context.passphrase))
    return certificate


def _check_new_root(
    context: AuthorityContext, root: x509.Certificate, transaction: Transaction
) -> None:
    """Check that a certificate is a root of handfast's own making, and new.

    Raises:
        InputError: if it is not.
        NotPermittedError: if its key belongs to a CA or a leaf already.
    """
    domain = context.settings.limits.trust_domain
    RootProfile.check(root)
    if trust_domain_of_ca(root) != domain:
        raise InputError(
            f"the new root is of {trust_domain_of_ca(root) or 'no trust domain'}, not of {domain}",
            remedy=f"Make one with: handfast ca root new --trust-domain {domain}",
        )
    # Its name holds its key id: no CRL is ever used for another root.
    path_length = rules.need(root, x509.BasicConstraints, "basic constraints").path_length
    if root.subject != ca_subject(domain, IssuerKind.ROOT, key_id_of_root(root)) or (
        path_length is not None and path_length < 1
    ):
        raise InputError(
            "the new root was not made by handfast: its name or its path length is another",
            remedy="Make one with: handfast ca root new",
        )
    key = IdentifiedKey.of(public_key_of(root))
    refuse_ca_key(key, transaction)
    if transaction.keys.contains(key):
        raise NotPermittedError("the new root has the key of a leaf", remedy="Make a new key")


def _adds(request: RootRequest, root: x509.Certificate | None, plan: RootPlan) -> bool:
    """Return whether a request prepares this root, with an issuing CA of the same kind."""
    return (
        request.purpose is Purpose.PREPARE_ROOT
        and request.issuing is not None
        and request.issuing.root == root
        and is_same_issuing(request, plan.key_type, plan.issuing_lifetime)
    )


def _refuse_second_rotation(transaction: Transaction) -> None:
    issuers = transaction.issuers()
    prepared = root_with_status(issuers, IssuerStatus.PREPARED)
    superseded = root_with_status(issuers, IssuerStatus.SUPERSEDED)
    if prepared is not None:
        raise WrongStepError(
            f"root {prepared.key_id} is prepared already",
            remedy="Activate it (handfast ca root activate), or give it up: handfast ca root "
            f"withdraw {prepared.key_id}",
        )
    if superseded is not None:
        raise WrongStepError(
            f"root {superseded.key_id}, the one before, is still trusted",
            remedy="Withdraw it first: handfast ca root withdraw",
        )


def _root_to_withdraw(
    context: AuthorityContext, transaction: Transaction, key_id: str | None
) -> IssuerRecord:
    if key_id is None:
        superseded = root_with_status(transaction.issuers(), IssuerStatus.SUPERSEDED)
        if superseded is None:
            raise _no_step_error(context, transaction, "withdrawn")
        return superseded
    named = [
        item
        for item in transaction.issuers()
        if item.kind is IssuerKind.ROOT and key_id and item.key_id.startswith(key_id)
    ]
    if len(named) != 1:
        raise InputError(
            f"{quote_untrusted(key_id)} names {len(named) or 'no'} roots",
            remedy="See their key ids with: handfast list --issuers",
        )
    if named[0].status is IssuerStatus.ACTIVE:
        raise WrongStepError(
            f"root {named[0].key_id} is the active one",
            remedy="Activate another one first: handfast ca root prepare, then handfast ca root "
            "activate",
        )
    return named[0]


def _no_step_error(
    context: AuthorityContext, transaction: Transaction, what: str
) -> WrongStepError:
    """Return the error for a step whose turn it is not, with what comes first."""
    prepared = root_with_status(transaction.issuers(), IssuerStatus.PREPARED)
    if prepared is not None:
        return WrongStepError(
            f"no root can be {what} yet: root {prepared.key_id} is only prepared",
            remedy="First: handfast ca root activate. Or give it up: handfast ca root withdraw "
            f"{prepared.key_id}",
        )
    request = pending_request(context, transaction)
    if request is not None and request.purpose is Purpose.PREPARE_ROOT:
        return WrongStepError(
            f"no root can be {what} yet: the request for one waits for the roots",
            remedy="First: handfast ca root import ANSWER",
        )
    return WrongStepError(
        f"no root can be {what}: none is prepared", remedy="First: handfast ca root prepare"
    )
