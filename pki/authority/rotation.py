"""Issuing CAs: made by the root, brought into use, and distrusted.

They rotate with overlap: the new one's list is out before its first leaf, and the old one's leaves
stay good until they end.
"""

from __future__ import annotations

from datetime import timedelta

from pki.authority.bootstrap import ca_subject
from pki.authority.context import AuthorityContext
from pki.authority.crls import sign_root_crls
from pki.authority.directory import key_id_of
from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.orders import IssuerOrder
from pki.errors import InputError, PkiError, StateError, quote_untrusted
from pki.keys import KeyType, generate_key
from pki.x509 import Crl
from pki.x509.readers import read_crls


def prepare_issuer(
    context: AuthorityContext, *, key_type: KeyType, lifetime: timedelta
) -> IssuerRecord:
    """Make an issuing CA with its first list; it signs nothing yet.

    Raises:
        StateError: if the root's key is away, or another one is prepared already.
    """
    now = context.now()
    key = generate_key(key_type)
    key_id = key_id_of(key)
    # The key is on disk before the ledger names it; a crash in between leaves a file that nothing
    # refers to.
    context.home.write_key(context.home.issuing_key(key_id), key, context.passphrase)
    try:
        with context.ledger.transaction() as transaction:
            _refuse_second(transaction)
            root = context.root_ca(transaction)
            order = IssuerOrder(context.settings.limits, key.public_key(), now + lifetime)
            subject = ca_subject(context.settings.limits.trust_domain, IssuerKind.ISSUING, key_id)
            certificate = context.signing.sign_issuer(
                order, root, transaction, subject=subject, now=now
            )
            issuer_id = transaction.add_issuer(
                certificate,
                kind=IssuerKind.ISSUING,
                status=IssuerStatus.PREPARED,
                key_id=key_id,
                now=now,
            )
            record = _record(transaction, issuer_id)
            context.refresh_crl(record, transaction)
            sign_root_crls(root, transaction, now=now, backdate=context.settings.backdate)
    except BaseException:
        _forget_key(context, key_id)
        raise
    return record


def _forget_key(context: AuthorityContext, key_id: str) -> None:
    """Remove the key of an issuing CA that was not made: one that the ledger does not name."""
    try:
        with context.ledger.transaction() as transaction:
            named = any(item.key_id == key_id for item in transaction.issuers())
    except PkiError:
        # Nobody can tell whether it was made. A key too many is harmless, one too few is not.
        return
    if not named:
        context.home.issuing_key(key_id).unlink(missing_ok=True)


def activate_issuer(context: AuthorityContext) -> IssuerRecord:
    """Bring the prepared issuing CA into use; the one before signs no more leaves.

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
        return _record(transaction, prepared[0].id)


def distrust_issuer(context: AuthorityContext, key_id: str) -> IssuerRecord:
    """Revoke an issuing CA on the root's list, with the root's key or with a list signed ahead.

    Args:
        context: the CA.
        key_id: the issuing CA's key id, or enough of its beginning to be clear.

    Raises:
        InputError: if it names none, or several.
        StateError: if the root's key is away and no list was signed ahead for this case.
    """
    with context.ledger.transaction() as transaction:
        found = [
            item
            for item in transaction.issuers()
            if item.kind is IssuerKind.ISSUING and key_id and item.key_id.startswith(key_id)
        ]
        if len(found) != 1:
            raise InputError(
                f"{quote_untrusted(key_id)} names {len(found)} issuing CAs",
                remedy="See their key ids with: handfast list --issuers",
            )
        chosen = found[0]
        if chosen.status is IssuerStatus.DISTRUSTED:
            return chosen
        transaction.set_status(chosen.id, IssuerStatus.DISTRUSTED)
        if context.home.root_key.exists():
            root = context.root_ca(transaction)
            sign_root_crls(root, transaction, now=context.now(), backdate=context.settings.backdate)
        else:
            _bring_out_crl(transaction)
        return _record(transaction, chosen.id)


def _refuse_second(transaction: Transaction) -> None:
    if any(item.status is IssuerStatus.PREPARED for item in transaction.issuers()):
        raise StateError(
            "an issuing CA is prepared already",
            remedy="Bring it into use: handfast ca rotate --activate",
        )


def _bring_out_crl(transaction: Transaction) -> None:
    issuers = transaction.issuers()
    gone = [item.id for item in issuers if item.status is IssuerStatus.DISTRUSTED]
    ahead = transaction.distrust_crl(gone)
    if ahead is None:
        raise StateError(
            "no root list was signed ahead that revokes these issuing CAs together",
            remedy="Bring the root's key back and try again",
        )
    root = next(item for item in issuers if item.kind is IssuerKind.ROOT)
    made = Crl.of(read_crls(ahead)[0])
    elsewhere = {item.serial for item in transaction.recovery.unrecorded_of(root.id)}
    if not elsewhere <= made.revoked:
        raise StateError(
            "the root's list revokes issuing CAs that this ledger has lost, and the list that was "
            "signed ahead does not",
            remedy="Bring the root's key back and try again",
        )
    transaction.put_crl(root.id, made)


def _record(transaction: Transaction, issuer_id: int) -> IssuerRecord:
    return next(item for item in transaction.issuers() if item.id == issuer_id)
