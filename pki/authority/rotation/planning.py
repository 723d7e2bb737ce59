"""Plan what the roots must sign, from what the ledger holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from pki.authority.context import AuthorityContext
from pki.authority.crls import RootCrlOrder, number_after, root_crl_order
from pki.authority.ledger import IssuerKind, IssuerRecord, Transaction
from pki.authority.ledger.hierarchy import trusted_roots
from pki.authority.rotation.requests import IssuerRequest, Purpose, RootRequest
from pki.transparency.note import VerifierKey
from pki.x509.bundle_chain import BundleContent


def plan_request(
    context: AuthorityContext,
    transaction: Transaction,
    purpose: Purpose,
    *,
    issuing: IssuerRequest | None = None,
    added: x509.Certificate | None = None,
    removed: IssuerRecord | None = None,
    crls_of: Sequence[IssuerRecord] = (),
    audit_key: bytes | None = None,
    audit_origin: str | None = None,
) -> RootRequest:
    """Plan a request. It holds a new trust bundle if its content differs from the newest one's.

    Args:
        context: the CA.
        transaction: of the ledger.
        purpose: why the roots are asked.
        issuing: the issuing CA to sign.
        added: a root that the trust bundle does not hold yet; its first CRL is signed too.
        removed: a root that the trust bundle shall no longer hold.
        crls_of: the roots whose CRLs must be signed anew.
        audit_key: the key of the audit log (Ed25519, 32 bytes); None takes that of the ledger's
            log, or of the newest bundle.
        audit_origin: the name of the restored audit log, which the roots acknowledge by it; None
            takes that of the newest bundle.

    Raises:
        RestoredLedgerError: if the ledger may lack revocations.
    """
    transaction.refuse_to_sign_unknowing()
    now = context.now()
    verifier_key = transaction.audit.verifier_key()
    if audit_key is None and verifier_key is not None:
        audit_key = VerifierKey.parse(verifier_key).public_key
    roots = [item.certificate for item in trusted_roots(transaction.issuers())]
    roots = [item for item in roots if removed is None or item != removed.certificate]
    roots += [added] if added is not None else []
    log = audit_key, audit_origin
    previous, bundle = _next_bundle(context, transaction, roots, now=now, log=log)
    orders = [
        root_crl_order(root, transaction, now=now, backdate=context.settings.backdate)
        for root in crls_of
    ]
    if added is not None:
        orders.append(_first_crls(added, now=now, context=context))
    return RootRequest(
        purpose,
        context.settings.limits.trust_domain,
        now,
        issuing,
        previous,
        bundle,
        tuple(orders),
    )


def root_record_of(root: x509.Certificate, transaction: Transaction) -> IssuerRecord | None:
    """Return the ledger's record of a root; None if there is none."""
    for item in transaction.issuers():
        if item.kind is IssuerKind.ROOT and item.certificate == root:
            return item
    return None


def _next_bundle(
    context: AuthorityContext,
    transaction: Transaction,
    roots: Sequence[x509.Certificate],
    *,
    now: datetime,
    log: tuple[bytes | None, str | None],
) -> tuple[BundleContent | None, BundleContent | None]:
    """Return the newest bundle's content and that of the next; None twice if nothing is new."""
    newest = transaction.rotation.newest_bundle()
    audit_key, audit_origin = log
    if newest is None:
        # A CA that was made before there were signed bundles gets its first one here.
        domain = context.settings.limits.trust_domain
        return None, BundleContent.first(
            domain, roots, created=now, audit_key=audit_key, audit_origin=audit_origin
        )
    previous = newest.bundle.content
    content = previous.next(roots, created=now, audit_key=audit_key, audit_origin=audit_origin)
    if (content.roots, content.audit_key, content.audit_origin) == (
        previous.roots,
        previous.audit_key,
        previous.audit_origin,
    ):
        return None, None
    return previous, content


def _first_crls(
    root: x509.Certificate, *, now: datetime, context: AuthorityContext
) -> RootCrlOrder:
    return RootCrlOrder(
        root, number_after(0, now=now), (), (), (), now - context.settings.backdate, now
    )
