"""Sign revocation lists anew: long before they end, and where one lacks a revocation."""

from __future__ import annotations

from datetime import datetime, timedelta

from pki.authority.context import AuthorityContext
from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.ledger.hierarchy import is_usable, trusted_roots
from pki.authority.revocation import sign_lists
from pki.errors import StateError
from pki.x509 import Crl


def refresh_crls(context: AuthorityContext, *, force: bool) -> int:
    """Sign a new CRL for each issuer whose CRL is due.

    An issuing CA's CRL is due past half of its lifetime, or if it was signed by a clock that was
    ahead; the root's CRL is due only in the second case.

    Args:
        context: the CA.
        force: sign all of them.

    Returns:
        How many were signed.

    Raises:
        StateError: if the key for one of them is not there.
    """
    now = context.now()
    signed = 0
    with context.ledger.transaction() as transaction:
        for issuer in transaction.issuers():
            ended = issuer.certificate.not_valid_after_utc < now
            if issuer.kind is IssuerKind.ROOT or ended or issuer.status is IssuerStatus.WITHDRAWN:
                continue
            current = transaction.crls.current_list(issuer.id)
            if not force and not is_due(current, now=now, lifetime=context.settings.crl_lifetime):
                continue
            try:
                context.refresh_crl(issuer, transaction)
            except StateError:
                # The key of a distrusted CA may be destroyed; nobody needs its CRL any more.
                if issuer.status is not IssuerStatus.DISTRUSTED:
                    raise
            else:
                signed += 1
        for root in trusted_roots(transaction.issuers()):
            signed += _refresh_future_root_crl(context, root, transaction)
    return signed


def sign_missing(context: AuthorityContext) -> None:
    """Sign a new CRL for each issuing CA whose CRL lacks a revocation.

    Raises:
        PkiError: if one can't be signed; the others were.
    """
    now = context.now()
    with context.ledger.transaction() as transaction:
        missing: set[int] = set()
        for issuer in transaction.issuers():
            if issuer.kind is not IssuerKind.ISSUING or not is_usable(issuer):
                continue
            current = transaction.crls.current_list(issuer.id)
            listed = frozenset() if current is None else current.revoked
            revoked = transaction.revoked_serials_of(issuer.id, ends_after=now)
            unrecorded = {item.serial for item in transaction.recovery.unrecorded_of(issuer.id)}
            if not revoked | unrecorded <= listed:
                missing.add(issuer.id)
        failed = sign_lists(context, transaction, missing)
    if failed is not None:
        raise failed


def _refresh_future_root_crl(
    context: AuthorityContext, root: IssuerRecord, transaction: Transaction
) -> int:
    """Sign a root's CRL anew if its begin is in the future and the root's key is there."""
    current = transaction.crls.current_list(root.id)
    if current is None or not context.has_root_key(root, transaction):
        return 0
    now = context.now()
    if not is_root_list_due(current, now=now) or now < root.certificate.not_valid_before_utc:
        return 0
    if context.root_ca_if_there(root, transaction) is None:
        return 0
    context.refresh_root_crls(root, transaction)
    return 1


def is_due(current: Crl | None, *, now: datetime, lifetime: timedelta) -> bool:
    """Return whether a CRL is past half of its lifetime, or a clock that was ahead signed it.

    Args:
        current: an issuing CA's CRL; None if there is none yet.
        now: the time.
        lifetime: of a CRL that is signed now.
    """
    if current is None:
        return True
    # A clock that was ahead shows in a begin in the future, or an end later than that of a CRL
    # signed now.
    remaining = current.next_update - now
    return current.this_update > now or remaining < lifetime / 2 or remaining > lifetime


def is_root_list_due(current: Crl, *, now: datetime) -> bool:
    """Return whether a clock that was ahead signed a root's CRL, which lives as long as it."""
    return current.this_update > now
