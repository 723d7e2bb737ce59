"""The request that waits for the roots: whether it still fits the CA, and what became of it.

1. A request waits until it is answered, until another one takes its place, or until the CA has
   changed so that its answer could not be recorded any more. Then it has ended, by itself: nothing
   that changes the CA has to know of it.
2. The ledger keeps the last request after its end, so that an answer to it is told why it comes too
   late, and an answer that is imported twice is not an error.
3. The same request again within an hour is that one: whoever lost an answer asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509

from pki.authority.context import AuthorityContext
from pki.authority.crls import RootCrlOrder, last_root_number, root_crl_order
from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.hierarchy import active_root
from pki.authority.rotation.answers import RootAnswer, root_id
from pki.authority.rotation.planning import root_record_of
from pki.authority.rotation.requests import Purpose, RootRequest
from pki.authority.rotation.root import key_id_of_root
from pki.errors import WrongStepError
from pki.x509 import Crl
from pki.x509.readers import read_crls

_AGAIN_WITHIN = timedelta(hours=1)


def kept_request(transaction: Transaction) -> RootRequest | None:
    """Return the newest request that waited for the roots, if it has ended too; None before it."""
    data = transaction.rotation.newest_request()
    return RootRequest.read(data) if data is not None else None


def pending_request(context: AuthorityContext, transaction: Transaction) -> RootRequest | None:
    """Return the request that waits for the roots; None if there is none."""
    request = kept_request(transaction)
    if request is None:
        return None
    try:
        check_current(context, transaction, request)
    except WrongStepError:
        return None
    return request


def keep_request(context: AuthorityContext, transaction: Transaction, request: RootRequest) -> None:
    """Keep a request for the roots, in place of the one before, and record that they are asked.

    The log then holds the serial number of the issuing CA that a root may sign, whatever becomes of
    the answer.
    """
    before = pending_request(context, transaction)
    transaction.rotation.put_request(request.digest, request.encode(), now=context.now())
    issuing = request.issuing
    details: dict[str, Any] = {"purpose": request.purpose.value, "request": request.digest}
    if issuing is not None:
        details |= {"issuing_ca": issuing.key_id(), "root": key_id_of_root(issuing.root)}
    if before is not None and before.digest != request.digest:
        details["replaces"] = before.digest
    if before is not None and before.purpose is not request.purpose:
        # Perhaps another admin's, who waits for its answer: said, because nobody else is asked.
        transaction.add_event(
            "request-replaced",
            f"the request for {before.purpose.value} ({before.digest[:16]}), which waited for the "
            f"roots, was replaced by {context.actor.name} with one for {request.purpose.value} "
            f"({request.digest[:16]}): an answer to the first is refused, and its key is gone",
            at=context.now(),
        )
    transaction.audit.append(
        context.audit_entry(
            AuditAction.ROOT_REQUEST,
            serial=f"{issuing.serial:x}" if issuing is not None and issuing.serial else None,
            **details,
        )
    )


def asked_again(
    context: AuthorityContext, transaction: Transaction, is_same: Callable[[RootRequest], bool]
) -> RootRequest | None:
    """Return the pending request if it is asked for once more; None if a new one must be made.

    Args:
        context: the CA.
        transaction: of the ledger.
        is_same: whether a request asks for the same.
    """
    request = pending_request(context, transaction)
    if request is None or not is_same(request):
        return None
    if not timedelta(0) <= context.now() - request.made_at < _AGAIN_WITHIN:
        return None
    for root in request.roots():
        record = record_or_new(root, transaction, now=request.made_at)
        if context.has_root_key(record, transaction):
            # It came here meanwhile, so the step is taken at once.
            return None
    return request


def check_current(
    context: AuthorityContext, transaction: Transaction, request: RootRequest
) -> None:
    """Check that nothing in the ledger that a request rests on has changed since it was made.

    Raises:
        WrongStepError: if something has; the message says what.
        StateError: if the clock is outside a root's validity.
    """
    newest = transaction.rotation.newest_bundle()
    content = newest.bundle.content if newest is not None else None
    if request.bundle is not None and content != request.previous:
        raise _changed("the newest trust bundle is another one")
    for root in request.removed_roots():
        record = root_record_of(root, transaction)
        if record is not None and record.status is IssuerStatus.ACTIVE:
            raise _changed(f"root {record.key_id}, which it withdraws, was activated")
    if request.issuing is not None:
        if request.issuing.limits != context.settings.limits:
            raise _changed("the limits of this CA are others")
        active = active_root(transaction.issuers())
        if request.purpose is Purpose.ISSUING_CA and request.issuing.root != active.certificate:
            raise _changed(f"the active root is {active.key_id} now")
    for order in request.crls:
        _check_order(context, transaction, order, request)


def is_recorded(transaction: Transaction, request: RootRequest, answer: RootAnswer) -> bool:
    """Return whether the ledger holds what an answer brings, because it was imported before.

    Two signatures of the same are the same: no signature is looked at.
    """
    if request.issuing is not None:
        signed = answer.issuing.tbs_certificate_bytes if answer.issuing is not None else None
        if all(item.certificate.tbs_certificate_bytes != signed for item in transaction.issuers()):
            return False
    if request.bundle is not None:
        found = transaction.rotation.bundles(since=request.bundle.number - 1, most=1)
        if not found or found[0].bundle.content.encode() != request.bundle.encode():
            return False
    crls = {item.root: item.crls[0] for item in answer.crls if item.crls}
    for order in request.crls:
        record = root_record_of(order.root, transaction)
        current = transaction.crls.current(record.id) if record is not None else None
        crl = crls.get(root_id(order.root))
        if current is None or crl is None:
            return False
        held = Crl.of(read_crls(current.der)[0])
        if (held.number, held.this_update, held.revoked) != (
            crl.number,
            crl.this_update,
            crl.revoked,
        ):
            return False
    return True


def record_or_new(
    root: x509.Certificate, transaction: Transaction, *, now: datetime
) -> IssuerRecord:
    """Return the ledger's record of a root, or what it will be once the root is recorded."""
    record = root_record_of(root, transaction)
    if record is not None:
        return record
    return IssuerRecord(0, IssuerKind.ROOT, IssuerStatus.PREPARED, key_id_of_root(root), root, now)


def _check_order(
    context: AuthorityContext, transaction: Transaction, order: RootCrlOrder, request: RootRequest
) -> None:
    """Check that a root's CRLs would be ordered in the same way now."""
    root = record_or_new(order.root, transaction, now=request.made_at)
    now = root_crl_order(root, transaction, now=context.now(), backdate=context.settings.backdate)
    has_signed = order.base <= last_root_number(root, transaction)
    if has_signed or (now.distrusted, now.unrecorded) != (order.distrusted, order.unrecorded):
        raise _changed(f"root {root.key_id} has revoked another issuing CA, or signed another CRL")
    if not set(now.trusted) <= set(order.trusted):
        raise _changed(f"root {root.key_id} has signed another issuing CA")


def _changed(why: str) -> WrongStepError:
    return WrongStepError(
        f"the CA has changed since the request was made: {why}",
        remedy="Make a new request, and have it signed",
    )
