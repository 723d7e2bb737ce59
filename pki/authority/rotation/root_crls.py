"""Ask the roots for CRLs alone."""

from __future__ import annotations

from pki.authority.audit import log_origin
from pki.authority.context import AuthorityContext
from pki.authority.ledger.hierarchy import trusted_roots
from pki.authority.rotation.pending import asked_again
from pki.authority.rotation.planning import plan_request
from pki.authority.rotation.recording import carry_out
from pki.authority.rotation.requests import Purpose, RootRequest
from pki.authority.rotation.tokens import answer_with_tokens
from pki.errors import WrongStepError


def renew_root_crls(
    context: AuthorityContext,
    *,
    audit_key: bytes | None = None,
    audit_origin: str | None = None,
    may_wait: bool = True,
) -> RootRequest | None:
    """Have the trusted roots sign their CRLs anew, those ahead included.

    Args:
        context: the CA.
        audit_key: a new key of the audit log, for a new trust bundle.
        audit_origin: the name of a restored audit log, for a new trust bundle.
        may_wait: if a root's key is not there, keep a request for it.

    Returns:
        The request, if it waits; None if it was carried out.

    Raises:
        StateError: if a root's key is not there, and the request may not wait.
    """
    with context.ledger.transaction() as transaction:
        again = asked_again(context, transaction, _is_for_crls)
        if may_wait and again is not None and audit_key is None and audit_origin is None:
            return again
        roots = trusted_roots(transaction.issuers())
        request = plan_request(
            context,
            transaction,
            Purpose.CRLS,
            crls_of=roots,
            audit_key=audit_key,
            audit_origin=audit_origin,
        )
        is_done = carry_out(context, transaction, request, may_wait=may_wait)
    if is_done or answer_with_tokens(context, request, may_wait=may_wait):
        return None
    return request


def acknowledge_restored_log(context: AuthorityContext) -> RootRequest | None:
    """Have the roots acknowledge, in a new trust bundle, that the audit log was restored.

    Followers alarm about a log with a name that no bundle holds, and accept it from then on.

    Returns:
        The request, if it waits; None if it was carried out.

    Raises:
        WrongStepError: if the log was not restored, or that is acknowledged.
    """
    with context.ledger.transaction() as transaction:
        newest = transaction.rotation.newest_bundle()
        domain = context.settings.limits.trust_domain
        origin = log_origin(transaction.audit.verifier_key(), domain)
        known = domain.audit_log if newest is None else newest.bundle.content.log_origin
    if origin == known:
        raise WrongStepError(
            f"the newest trust bundle names the audit log {origin}: there is nothing to acknowledge"
        )
    return renew_root_crls(context, audit_origin=origin)


def _is_for_crls(request: RootRequest) -> bool:
    return request.purpose is Purpose.CRLS and request.bundle is None
