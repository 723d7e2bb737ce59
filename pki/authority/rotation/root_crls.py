"""Ask the roots for CRLs alone."""

from __future__ import annotations

from pki.authority.context import AuthorityContext
from pki.authority.ledger.hierarchy import trusted_roots
from pki.authority.rotation.pending import asked_again
from pki.authority.rotation.planning import plan_request
from pki.authority.rotation.recording import carry_out
from pki.authority.rotation.requests import Purpose, RootRequest
from pki.authority.rotation.tokens import answer_with_tokens


def renew_root_crls(
    context: AuthorityContext, *, audit_key: bytes | None = None, may_wait: bool = True
) -> RootRequest | None:
    """Have the trusted roots sign their CRLs anew, those ahead included.

    Args:
        context: the CA.
        audit_key: a new key of the audit log, for a new trust bundle.
        may_wait: if a root's key is not there, keep a request for it.

    Returns:
        The request, if it waits; None if it was carried out.

    Raises:
        StateError: if a root's key is not there, and the request may not wait.
    """
    with context.ledger.transaction() as transaction:
        again = asked_again(context, transaction, _is_for_crls)
        if may_wait and again is not None and audit_key is None:
            return again
        roots = trusted_roots(transaction.issuers())
        request = plan_request(
            context, transaction, Purpose.CRLS, crls_of=roots, audit_key=audit_key
        )
        is_done = carry_out(context, transaction, request, may_wait=may_wait)
    if is_done or answer_with_tokens(context, request, may_wait=may_wait):
        return None
    return request


def _is_for_crls(request: RootRequest) -> bool:
    return request.purpose is Purpose.CRLS and request.bundle is None
