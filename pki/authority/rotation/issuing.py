"""Prepare, activate and distrust issuing CAs.

They rotate with overlap: a new issuing CA's CRL is published before its first leaf, and the leaves
of the one before stay valid until they end. The root's key need not be there: then the CA keeps a
request for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from cryptography import x509

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.crls import sign_root_crls
from pki.authority.directory import key_id_of
from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.audit.entry import shorten
from pki.authority.ledger.hierarchy import active_root, issued_by, root_of
from pki.authority.orders import ca_subject
from pki.authority.publishing.room import with_room
from pki.authority.rotation.issuing_keys import new_issuing_key, new_issuing_signer, record_key
from pki.authority.rotation.pending import asked_again
from pki.authority.rotation.planning import plan_request
from pki.authority.rotation.recording import carry_out
from pki.authority.rotation.requests import IssuerRequest, Purpose, RootRequest, issuing_csr
from pki.authority.rotation.tokens import answer_with_tokens
from pki.authority.signers.new_key import KeyPlace
from pki.errors import (
    CommitInDoubtError,
    InputError,
    LedgerError,
    NotRecordedError,
    OlderLedgerError,
    WrongStepError,
    quote_untrusted,
)
from pki.keys import KeyType, PrivateKey, is_of_type
from pki.x509 import Crl
from pki.x509.profiles.builder import random_serial
from pki.x509.readers import read_crls

DISTRUST_SECONDS = 5.0
"""How long a distrust waits for a ledger that another process holds: it is in a hurry."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a preparation came to: an issuing CA, or a request that a root has to answer first.

    Args:
        issuer: the prepared issuing CA; None while the request waits.
        request: the request; None if it was carried out.
    """

    issuer: IssuerRecord | None
    request: RootRequest | None


def prepare_issuer(
    context: AuthorityContext,
    *,
    key_type: KeyType,
    lifetime: timedelta,
    place: KeyPlace | None = None,
    may_wait: bool = False,
) -> Prepared:
    """Make an issuing CA with its first CRL; it signs no leaf yet.

    Args:
        context: the CA.
        key_type: of the new key.
        lifetime: of the issuing CA.
        place: where the new key shall live; None: where that of the newest issuing CA lives.
        may_wait: if the root's key is not there, keep a request for it.

    Raises:
        WrongStepError: if another issuing CA is prepared already.
        StateError: if the root's key is not there and the request may not wait.
        InputError: if the lifetime does not fit the leaves or the root.
        SignerError: if a token can't be used.
    """
    if may_wait and place is None:
        with context.ledger.transaction() as transaction:
            again = asked_again(
                context, transaction, lambda kept: _is_same(kept, key_type, lifetime)
            )
        if again is not None:
            return Prepared(None, again)
    signer = new_issuing_signer(context, key_type, place)
    key_id = key_id_of(signer.key)
    with new_issuing_key(context, signer) as unused, context.ledger.transaction() as transaction:
        record_key(context, transaction, key_id, unused)
        issuers = transaction.issuers()
        root = active_root(issuers)
        refuse_second_prepared(root, issuers)
        issuing = issuer_request(
            context, root.certificate, signer.key, lifetime=lifetime, transaction=transaction
        )
        request = plan_request(
            context, transaction, Purpose.ISSUING_CA, issuing=issuing, crls_of=[root]
        )
        is_done = carry_out(context, transaction, request, may_wait=may_wait)
    if not is_done and not answer_with_tokens(context, request, may_wait=may_wait):
        return Prepared(None, request)
    with context.ledger.transaction() as transaction:
        return Prepared(_of_key(transaction, key_id), None)


def issuer_request(
    context: AuthorityContext,
    root: x509.Certificate,
    key: PrivateKey,
    *,
    lifetime: timedelta,
    transaction: Transaction,
) -> IssuerRequest:
    """Return the request for an issuing CA, after admission.

    Raises:
        NotPermittedError: if admission refuses it.
        InputError: if the lifetime does not fit the leaves or the root.
    """
    now = context.now()
    limits = context.settings.limits
    subject = ca_subject(limits.trust_domain, IssuerKind.ISSUING, key_id_of(key))
    validity = context.signing.issuer_validity(lifetime, root, now=now)
    request = IssuerRequest(root, limits, validity, issuing_csr(key, subject), random_serial())
    context.signing.admit_issuer(request.order(), transaction, root=root, now=now)
    return request


def activate_issuer(context: AuthorityContext, key_id: str | None = None) -> IssuerRecord:
    """Activate the prepared issuing CA; the one before signs no more leaves.

    Args:
        context: the CA.
        key_id: its whole key id; None takes the one that is prepared. One that is active already
            stays so.

    Raises:
        WrongStepError: if none is prepared under the active root, or another one.
    """
    with context.ledger.transaction() as transaction:
        issuers = transaction.issuers()
        for item in issuers:
            is_active = (item.kind, item.status) == (IssuerKind.ISSUING, IssuerStatus.ACTIVE)
            if is_active and item.key_id == key_id:
                return item
        prepared = prepared_under(active_root(issuers), issuers)
        if prepared is None:
            raise WrongStepError(
                "no issuing CA is prepared", remedy="Make one: handfast ca rotate --prepare"
            )
        refuse_another(prepared, key_id, "issuing CA")
        return activate(context, prepared, transaction)


def refuse_another(prepared: IssuerRecord, key_id: str | None, what: str) -> None:
    """Refuse a step for another issuing CA or root than the one that is prepared.

    Raises:
        WrongStepError: if the key id is another one.
    """
    if key_id is not None and key_id != prepared.key_id:
        raise WrongStepError(
            f"{what} {quote_untrusted(key_id)} is not prepared: {prepared.key_id} is",
            remedy="See where the rotation stands: handfast ca rotate status",
        )


def activate(
    context: AuthorityContext, prepared: IssuerRecord, transaction: Transaction
) -> IssuerRecord:
    """Make a prepared issuing CA the active one."""
    for item in transaction.issuers():
        if item.kind is IssuerKind.ISSUING and item.status is IssuerStatus.ACTIVE:
            transaction.set_status(item.id, IssuerStatus.SUPERSEDED)
    transaction.set_status(prepared.id, IssuerStatus.ACTIVE)
    transaction.audit.append(
        context.audit_entry(
            AuditAction.ACTIVATE, certificate=prepared.certificate, issuing_ca=prepared.key_id
        )
    )
    return _of_key(transaction, prepared.key_id)


def distrust_issuer(
    context: AuthorityContext, key_id: str
) -> tuple[IssuerRecord, IssuerRecord | None]:
    """Revoke an issuing CA on its root's CRL, with the root's key or with a CRL signed ahead.

    If it was the active one and another is prepared under the same root, that one is activated at
    once. One under a root that is only prepared is not: receivers may not know that root yet.

    Args:
        context: the CA.
        key_id: the issuing CA's key id, or a prefix of it that fits no other.

    Returns:
        The distrusted issuing CA, and the one that was activated in its place.

    Raises:
        InputError: if the key id names none or several.
        WrongStepError: if the root's key is not there, and no CRL was signed ahead for this case.
        NotRecordedError: if the ledger can't record it now.
    """
    bounded = replace(context, ledger=context.ledger.waiting(DISTRUST_SECONDS))
    try:
        return with_room(bounded, lambda: _distrust(bounded, key_id))
    except (OlderLedgerError, CommitInDoubtError):
        raise
    except LedgerError as error:
        raise NotRecordedError(
            f"issuing CA {quote_untrusted(key_id)} is still trusted: the CA's ledger can't record "
            "a distrust now. Its disk is full or fails, or another process holds it",
            remedy="Free it (df shows the disk, and fuser who holds the ledger), and distrust it "
            "again. Until then, revoke what it signed: that can be done at once",
        ) from error


def _distrust(context: AuthorityContext, key_id: str) -> tuple[IssuerRecord, IssuerRecord | None]:
    refusal = context.audit_entry(
        AuditAction.REFUSE, asked=AuditAction.DISTRUST.value, issuing_ca=shorten(key_id)
    )
    with (
        recorded_refusals(context.ledger, refusal),
        context.ledger.transaction() as transaction,
    ):
        issuers = transaction.issuers()
        named = [
            item
            for item in issuers
            if item.kind is IssuerKind.ISSUING and key_id and item.key_id.startswith(key_id)
        ]
        if len(named) != 1:
            raise InputError(
                f"{quote_untrusted(key_id)} names {len(named) or 'no'} issuing CAs",
                remedy="See their key ids with: handfast list --issuers",
            )
        chosen = named[0]
        root = root_of(chosen, issuers)
        if chosen.status is IssuerStatus.DISTRUSTED:
            return chosen, None
        transaction.set_status(chosen.id, IssuerStatus.DISTRUSTED)
        transaction.audit.append(
            context.audit_entry(
                AuditAction.DISTRUST, certificate=chosen.certificate, issuing_ca=chosen.key_id
            )
        )
        opened = context.root_ca_if_there(root, transaction)
        if opened is not None:
            sign_root_crls(
                opened,
                transaction,
                now=context.now(),
                backdate=context.settings.backdate,
            )
        else:
            _use_presigned_crl(root, transaction)
        activated = None
        prepared = prepared_under(root, transaction.issuers())
        if (
            chosen.status is IssuerStatus.ACTIVE
            and root.status is IssuerStatus.ACTIVE
            and prepared is not None
        ):
            activated = activate(context, prepared, transaction)
        return _of_key(transaction, chosen.key_id), activated


def prepared_under(root: IssuerRecord, issuers: Sequence[IssuerRecord]) -> IssuerRecord | None:
    """Return the issuing CA that is prepared under a root; None if there is none."""
    for item in issued_by(root, issuers):
        if item.status is IssuerStatus.PREPARED:
            return item
    return None


def refuse_second_prepared(root: IssuerRecord, issuers: Sequence[IssuerRecord]) -> None:
    """Refuse to prepare an issuing CA beside another one of the same root.

    Raises:
        WrongStepError: if one is prepared.
    """
    if prepared_under(root, issuers) is not None:
        raise WrongStepError(
            "an issuing CA is prepared already",
            remedy="Activate it: handfast ca rotate --activate",
        )


def is_same_issuing(request: RootRequest, key_type: KeyType, lifetime: timedelta) -> bool:
    """Return whether a request asks for an issuing CA of this kind and lifetime."""
    issuing = request.issuing
    return (
        issuing is not None
        and is_of_type(issuing.public_key(), key_type)
        and issuing.validity.not_after - request.made_at == lifetime
    )


def _is_same(request: RootRequest, key_type: KeyType, lifetime: timedelta) -> bool:
    return request.purpose is Purpose.ISSUING_CA and is_same_issuing(request, key_type, lifetime)


def _use_presigned_crl(root: IssuerRecord, transaction: Transaction) -> None:
    distrusted = [
        item.id
        for item in issued_by(root, transaction.issuers())
        if item.status is IssuerStatus.DISTRUSTED
    ]
    presigned = transaction.crls.presigned(root.id, distrusted)
    if presigned is None:
        raise WrongStepError(
            "no root CRL was signed ahead that revokes exactly these issuing CAs",
            remedy="Bring the root's key back and try again",
        )
    crl = Crl.of(read_crls(presigned)[0])
    before = transaction.crls.current(root.id)
    published = Crl.of(read_crls(before.der)[0]).revoked if before is not None else frozenset()
    unrecorded = {item.serial for item in transaction.recovery.unrecorded_of(root.id)}
    # One that no list revokes yet may wait for the root: the leaked one may not.
    if not unrecorded & published <= crl.revoked:
        raise WrongStepError(
            "the root's CRL revokes issuing CAs that this ledger does not hold, and the one signed "
            "ahead does not",
            remedy="Bring the root's key back and try again",
        )
    transaction.crls.put(root.id, crl)


def _of_key(transaction: Transaction, key_id: str) -> IssuerRecord:
    return next(item for item in transaction.issuers() if item.key_id == key_id)
