"""Prepare, activate and distrust issuing CAs.

They rotate with overlap: a new issuing CA's CRL is published before its first leaf, and the leaves
of the one before stay valid until they end.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from cryptography import x509

from pki.authority.audit import recorded_refusals
from pki.authority.bootstrap import ca_subject
from pki.authority.context import AuthorityContext
from pki.authority.crls import sign_root_crls
from pki.authority.directory import key_id_of
from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.audit.entry import shorten
from pki.authority.orders import IssuerOrder
from pki.authority.signers import Signer
from pki.authority.signers.new_key import IN_FILE, KeyPlace, make_signer
from pki.authority.signing import SigningCa
from pki.errors import InputError, PkiError, StateError, quote_untrusted
from pki.keys import KeyType
from pki.x509 import Crl
from pki.x509.readers import read_crls


def prepare_issuer(
    context: AuthorityContext,
    *,
    key_type: KeyType,
    lifetime: timedelta,
    place: KeyPlace | None = None,
) -> IssuerRecord:
    """Make an issuing CA with its first CRL; it signs no leaf yet.

    Args:
        context: the CA.
        key_type: of the new key.
        lifetime: of the issuing CA.
        place: where the new key shall live; None: where that of the newest issuing CA lives.

    Raises:
        StateError: if the root's key is not there, or another issuing CA is prepared already.
        SignerError: if a token can't be used.
    """
    now = context.now()
    place = place or _place_of_newest(context)
    signer = make_signer(place, key_type, context.passphrase, context.tokens)
    key_id = key_id_of(signer.key)
    # Written before the ledger names the key; a crash in between leaves an unused file.
    path = context.directory.issuing_key(key_id)
    uri = context.directory.key_uri(path, what=f"the key of issuing CA {key_id}")
    # A key that was in its token already may have its file already.
    if uri is None or str(uri) != signer.place:
        context.directory.write_signer(path, signer)
    try:
        with context.ledger.transaction() as transaction:
            _refuse_second_prepared(transaction)
            root = context.root_ca(transaction)
            order = IssuerOrder(context.settings.limits, signer.key.public_key(), now + lifetime)
            subject = ca_subject(context.settings.limits.trust_domain, IssuerKind.ISSUING, key_id)
            planned = context.signing.plan_issuer(
                order, root, transaction, subject=subject, now=now
            )
            if not root.is_external:
                certificate = planned.certificate.sign()
                return _record_issuer(context, root, certificate, key_id, transaction)
        # The signature of an external signer is made while no transaction is open.
        certificate = planned.certificate.sign()
        with context.ledger.transaction() as transaction:
            _refuse_second_prepared(transaction)
            context.signing.admit_signed_issuer(planned, certificate, transaction)
            return _record_issuer(context, root, certificate, key_id, transaction)
    except BaseException:
        _remove_unused_key(context, key_id, signer)
        raise


def _record_issuer(
    context: AuthorityContext,
    root: SigningCa,
    certificate: x509.Certificate,
    key_id: str,
    transaction: Transaction,
) -> IssuerRecord:
    """Record an issuing CA, and sign its first CRL and the root's."""
    now = context.now()
    issuer_id = transaction.add_issuer(
        certificate,
        kind=IssuerKind.ISSUING,
        status=IssuerStatus.PREPARED,
        key_id=key_id,
        now=now,
    )
    record = _issuer_record(transaction, issuer_id)
    transaction.audit.append(
        context.audit_entry(AuditAction.PREPARE, certificate=certificate, issuing_ca=key_id)
    )
    context.refresh_crl(record, transaction)
    sign_root_crls(root, transaction, now=now, backdate=context.settings.backdate)
    return record


def _place_of_newest(context: AuthorityContext) -> KeyPlace:
    """Return where the key of the newest issuing CA lives.

    A CA does not leave its token because somebody forgot an option.
    """
    if context.tokens.module is None and not context.directory.names_tokens():
        return IN_FILE
    with context.ledger.transaction() as transaction:
        issuing = [item for item in transaction.issuers() if item.kind is IssuerKind.ISSUING]
    if not issuing and context.tokens.module is not None:
        raise StateError(
            "the CA has no issuing CA yet, and a PKCS#11 module is named: where its key shall live "
            "is not clear",
            remedy="Say it: handfast ca rotate --key pkcs11:token=NAME, or --key file",
        )
    if not issuing:
        return IN_FILE
    path = context.directory.issuing_key(issuing[-1].key_id)
    uri = context.directory.key_uri(path, what=f"the key of issuing CA {issuing[-1].key_id}")
    return KeyPlace(uri.token_only()) if uri is not None else IN_FILE


def _remove_unused_key(context: AuthorityContext, key_id: str, signer: Signer) -> None:
    """Remove the key of an issuing CA that the ledger does not hold."""
    try:
        with context.ledger.transaction() as transaction:
            is_recorded = any(item.key_id == key_id for item in transaction.issuers())
    except PkiError:
        # Whether the issuing CA was recorded is not known: a spare key is harmless, a lost one not.
        return
    if not is_recorded:
        # An error of a token that is away must not hide the one that brought us here.
        with suppress(PkiError):
            context.directory.discard_signer(context.directory.issuing_key(key_id), signer)


def activate_issuer(context: AuthorityContext) -> IssuerRecord:
    """Activate the prepared issuing CA; the one before signs no more leaves.

    Raises:
        StateError: if none is prepared.
    """
    with context.ledger.transaction() as transaction:
        prepared = [item for item in transaction.issuers() if item.status is IssuerStatus.PREPARED]
        if not prepared:
            raise StateError(
                "no issuing CA is prepared", remedy="Make one: handfast ca rotate --prepare"
            )
        for item in transaction.issuers():
            if item.kind is IssuerKind.ISSUING and item.status is IssuerStatus.ACTIVE:
                transaction.set_status(item.id, IssuerStatus.SUPERSEDED)
        transaction.set_status(prepared[0].id, IssuerStatus.ACTIVE)
        transaction.audit.append(
            context.audit_entry(
                AuditAction.ACTIVATE,
                certificate=prepared[0].certificate,
                issuing_ca=prepared[0].key_id,
            )
        )
        return _issuer_record(transaction, prepared[0].id)


def distrust_issuer(context: AuthorityContext, key_id: str) -> IssuerRecord:
    """Revoke an issuing CA on the root's CRL, with the root's key or with a CRL signed ahead.

    Args:
        context: the CA.
        key_id: the issuing CA's key id, or a prefix of it that fits no other.

    Raises:
        InputError: if the key id names none or several.
        StateError: if the root's key is not there, and no CRL was signed ahead for this case.
    """
    refusal = context.audit_entry(
        AuditAction.REFUSE,
        asked=AuditAction.DISTRUST.value,
        issuing_ca=shorten(key_id),
    )
    with (
        recorded_refusals(context.ledger, refusal),
        context.ledger.transaction() as transaction,
    ):
        named = [
            item
            for item in transaction.issuers()
            if item.kind is IssuerKind.ISSUING and key_id and item.key_id.startswith(key_id)
        ]
        if len(named) != 1:
            raise InputError(
                f"{quote_untrusted(key_id)} names {len(named)} issuing CAs",
                remedy="See their key ids with: handfast list --issuers",
            )
        chosen = named[0]
        if chosen.status is IssuerStatus.DISTRUSTED:
            return chosen
        transaction.set_status(chosen.id, IssuerStatus.DISTRUSTED)
        transaction.audit.append(
            context.audit_entry(
                AuditAction.DISTRUST, certificate=chosen.certificate, issuing_ca=chosen.key_id
            )
        )
        root = context.root_ca_if_there(transaction)
        if root is not None:
            sign_root_crls(root, transaction, now=context.now(), backdate=context.settings.backdate)
        else:
            _use_presigned_crl(transaction)
        return _issuer_record(transaction, chosen.id)


def _refuse_second_prepared(transaction: Transaction) -> None:
    if any(item.status is IssuerStatus.PREPARED for item in transaction.issuers()):
        raise StateError(
            "an issuing CA is prepared already",
            remedy="Activate it: handfast ca rotate --activate",
        )


def _use_presigned_crl(transaction: Transaction) -> None:
    issuers = transaction.issuers()
    distrusted = [item.id for item in issuers if item.status is IssuerStatus.DISTRUSTED]
    presigned = transaction.crls.presigned(distrusted)
    if presigned is None:
        raise StateError(
            "no root CRL was signed ahead that revokes exactly these issuing CAs",
            remedy="Bring the root's key back and try again",
        )
    root = next(item for item in issuers if item.kind is IssuerKind.ROOT)
    crl = Crl.of(read_crls(presigned)[0])
    unrecorded = {item.serial for item in transaction.recovery.unrecorded_of(root.id)}
    if not unrecorded <= crl.revoked:
        raise StateError(
            "the root's CRL revokes issuing CAs that this ledger has lost, and the CRL that was "
            "signed ahead does not",
            remedy="Bring the root's key back and try again",
        )
    transaction.crls.put(root.id, crl)


def _issuer_record(transaction: Transaction, issuer_id: int) -> IssuerRecord:
    return next(item for item in transaction.issuers() if item.id == issuer_id)
