"""Sign the lists that lack a revocation which was announced before."""

from __future__ import annotations

from pki.authority.context import AuthorityContext
from pki.authority.ledger import IssuerKind, IssuerStatus
from pki.x509 import Crl
from pki.x509.readers import read_crls


def sign_missing(context: AuthorityContext) -> int:
    """Sign a new CRL for each issuing CA whose CRL lacks a revocation; return how many."""
    now, signed = context.now(), 0
    with context.ledger.transaction() as transaction:
        for issuer in transaction.issuers():
            if issuer.kind is not IssuerKind.ISSUING or issuer.status is IssuerStatus.DISTRUSTED:
                continue
            current = transaction.crls.current(issuer.id)
            listed = Crl.of(read_crls(current.der)[0]).revoked if current else frozenset()
            if not transaction.revoked_serials_of(issuer.id, ends_after=now) <= listed:
                context.refresh_crl(issuer, transaction)
                signed += 1
    return signed
