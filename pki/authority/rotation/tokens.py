"""Have a pending request signed by roots whose keys are in tokens, while no transaction is open."""

from __future__ import annotations

from pki.authority.context import AuthorityContext
from pki.authority.rotation.importing import import_answers
from pki.authority.rotation.planning import root_record_of
from pki.authority.rotation.requests import RootRequest
from pki.authority.rotation.root import RootKeys, missing_keys, sign_request
from pki.authority.signing import SigningCa


def answer_with_tokens(
    context: AuthorityContext, request: RootRequest, *, may_wait: bool, force: bool = False
) -> bool:
    """Sign the pending request with the roots' keys on this machine, and record the answer.

    Args:
        context: the CA.
        request: the pending request.
        may_wait: whether it may go on waiting, if a key or its token is not there.
        force: complete a withdrawal even if it strands workloads.

    Returns:
        Whether it was signed and recorded.

    Raises:
        SignerError: if a token can't be used, and the request may not wait.
        StateError: if a key is not there and the request may not wait, or if the CA has changed
            since.
    """
    keys = RootKeys.of(*(item.key for item in _signing_roots(context, request, may_wait=may_wait)))
    if missing_keys(request, keys):
        return False
    import_answers(context, [sign_request(request, keys, now=request.made_at)], force=force)
    return True


def _signing_roots(
    context: AuthorityContext, request: RootRequest, *, may_wait: bool
) -> list[SigningCa]:
    with context.ledger.transaction() as transaction:
        records = [root_record_of(root, transaction) for root in request.roots()]
        roots = [item for item in records if item is not None]
        if may_wait:
            opened = [context.root_ca_if_there(root, transaction) for root in roots]
            return [item for item in opened if item is not None]
        return [context.root_ca(root, transaction) for root in roots]
