"""Make the keys of new issuing CAs, and remove those that nothing needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pki.authority.context import AuthorityContext
from pki.authority.directory import key_id_of
from pki.authority.ledger import IssuerKind, Transaction
from pki.authority.rotation.pending import kept_request, pending_request
from pki.authority.rotation.requests import RootRequest
from pki.authority.shared_keys import share_key_file
from pki.authority.signers import ExternalSigner, FileSigner, Signer
from pki.authority.signers.new_key import IN_FILE, KeyPlace, make_signer
from pki.errors import CommitInDoubtError, PkiError, StateError
from pki.keys import KeyType


def new_issuing_signer(
    context: AuthorityContext, key_type: KeyType, place: KeyPlace | None
) -> Signer:
    """Make the key of a new issuing CA.

    Args:
        context: the CA.
        key_type: of the key.
        place: where it shall live; None: where that of the newest issuing CA lives.

    Raises:
        StateError: if it is not clear where it shall live.
        SignerError: if a token can't be used.
    """
    place = place or _place_of_newest(context)
    return make_signer(place, key_type, context.passphrase, context.tokens)


@contextmanager
def new_issuing_key(context: AuthorityContext, signer: Signer) -> Iterator[list[str]]:
    """Write a new issuing CA's key, and remove it if the block that is to record it fails.

    The key is written before the ledger names it: a crash in between leaves an unused file, and so
    does a commit that is in doubt. The block gets a list, to which it adds the ids of keys that
    nothing needs once it has succeeded.

    Raises:
        StateError: if the key can't be written.
    """
    key_id = key_id_of(signer.key)
    path = context.directory.issuing_key(key_id)
    uri = context.directory.key_uri(path, what=f"the key of issuing CA {key_id}")
    # A key that was in its token already may have its file already.
    if uri is None or str(uri) != signer.place:
        context.directory.write_signer(path, signer)
    replaced: list[str] = []
    try:
        yield replaced
    except CommitInDoubtError:
        # It may still be recorded, e.g. once a standby of the database has answered.
        raise
    except BaseException:
        _remove_unused_key(context, key_id, signer)
        raise
    for other in replaced:
        _remove_unused_key(context, other)


def record_key(
    context: AuthorityContext, transaction: Transaction, key_id: str, replaced: list[str]
) -> None:
    """Share a new issuing CA's key with other replicas, and note the one that nothing needs then.

    Args:
        context: the CA.
        transaction: which records the issuing CA, or the request for it.
        key_id: the new key's.
        replaced: gets the id of the key that the newest request names, if it names one.
    """
    replaced.extend(_kept_key_ids(transaction))
    name = context.directory.issuing_key(key_id).name
    share_key_file(context.directory, context.ledger, transaction, name)


def _kept_key_ids(transaction: Transaction) -> list[str]:
    """Return the id of the issuing CA's key that the newest request names, if it names one."""
    return _key_ids(kept_request(transaction))


@contextmanager
def ended_keys_removed(context: AuthorityContext) -> Iterator[None]:
    """Remove the key of the newest request's issuing CA, if that request has ended after the block.

    Nothing of this hinders the block: a spare key is harmless.
    """
    before: list[str] = []
    # Without the lock: what the block does may be in a hurry.
    with suppress(PkiError), context.ledger.snapshot() as transaction:
        before = _kept_key_ids(transaction)
    yield
    for key_id in before:
        _remove_unused_key(context, key_id)


def _key_ids(request: RootRequest | None) -> list[str]:
    issuing = request.issuing if request is not None else None
    return [issuing.key_id()] if issuing is not None else []


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


def _remove_unused_key(
    context: AuthorityContext, key_id: str, signer: Signer | None = None
) -> None:
    """Remove the key of an issuing CA that neither the ledger nor its pending request names.

    Args:
        context: the CA.
        key_id: of the key.
        signer: the key, if it was made just now: then it is removed from its token too.
    """
    try:
        with context.ledger.transaction() as transaction:
            named = {item.key_id for item in transaction.issuers()}
            named.update(_key_ids(pending_request(context, transaction)))
    except PkiError:
        # Whether the issuing CA was recorded is not known: a spare key is harmless, a lost one not.
        return
    if key_id in named:
        return
    path = context.directory.issuing_key(key_id)
    if signer is None:
        # The key of a request that another one has replaced; in a token it stays.
        for suffix in (FileSigner.file_suffix, ExternalSigner.file_suffix):
            path.with_suffix(suffix).unlink(missing_ok=True)
        return
    # An error of a token that is away must not hide the one that brought us here.
    with suppress(PkiError):
        context.directory.discard_signer(path, signer)
