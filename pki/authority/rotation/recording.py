"""Check what the roots signed once more, and record it.

Nothing is believed because a root's key was used: each part of an answer is compared with the
request that the CA keeps, and the request with the ledger as it is now.

1. The answer is to the request that is pending, and nothing in the ledger that the request rests on
   has changed since: the newest bundle, the revoked issuing CAs, the numbers of the CRLs.
2. The issuing CA passes its profile with this CA's limits, holds the requested key, name and
   validity, and its root signed it. Admission admits it again.
3. The trust bundle is the requested one, and a follower of the newest bundle would accept it.
4. Each CRL is signed by its root, and revokes exactly the requested set under the expected number.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from pki.authority.context import AuthorityContext
from pki.authority.crls import RootCrlOrder, record_root_crls
from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.hierarchy import issued_by
from pki.authority.rotation.answers import RootAnswer, root_id
from pki.authority.rotation.pending import check_current, keep_request, record_or_new
from pki.authority.rotation.planning import root_record_of
from pki.authority.rotation.requests import IssuerRequest, RootRequest
from pki.authority.rotation.root import (
    RootKeys,
    check_request,
    key_id_of_root,
    missing_keys,
    sign_request,
    with_issuing,
)
from pki.errors import InputError, WrongStepError
from pki.keys import public_key_fingerprint
from pki.x509 import Crl
from pki.x509.bundle_chain import follow
from pki.x509.decoding import UNREADABLE, public_key_of
from pki.x509.profiles import IssuingProfile


def carry_out(
    context: AuthorityContext,
    transaction: Transaction,
    request: RootRequest,
    *,
    may_wait: bool,
    forced: bool = False,
) -> bool:
    """Carry out a request with the roots' keys in this process, or keep it until it is answered.

    A root's key in a token signs while no transaction is open, so such a request is always kept: it
    is also the record of what the token was asked to sign.

    Args:
        context: the CA.
        transaction: of the ledger.
        request: the request.
        may_wait: keep it in the ledger if a key is not there.
        forced: for the log: whether it is to be done even if it strands workloads.

    Returns:
        Whether it was carried out.

    Raises:
        StateError: if a root's key is not there, and the request may not wait.
    """
    check_request(request)
    roots = [record_or_new(root, transaction, now=request.made_at) for root in request.roots()]
    opened = [
        context.root_ca(root, transaction)
        for root in roots
        if context.has_root_key(root, transaction)
    ]
    keys = RootKeys.of(*(item.key for item in opened if not item.is_external))
    if not missing_keys(request, keys):
        answer = sign_request(request, keys, now=request.made_at)
        record_answer(context, transaction, request, answer, forced=forced)
        return True
    missing = missing_keys(request, RootKeys.of(*(item.key for item in opened)))
    if missing and not may_wait:
        # Raises the error that names the key's path.
        context.root_ca(next(root for root in roots if root.certificate in missing), transaction)
    if not may_wait:
        # A token that is away is told before anything is recorded.
        for item in opened:
            item.signer.connect()
    keep_request(context, transaction, request)
    return False


def record_answer(
    context: AuthorityContext,
    transaction: Transaction,
    request: RootRequest,
    answer: RootAnswer,
    *,
    forced: bool = False,
) -> None:
    """Check an answer by the rules above, and record all that it holds.

    Args:
        context: the CA.
        transaction: of the ledger.
        request: the request.
        answer: the answer to it.
        forced: for the log: whether it is to be done even if it strands workloads.

    Raises:
        InputError: if a part of the answer is not what was requested.
        StateError: if a part is missing, or the ledger has changed since the request.
    """
    transaction.refuse_to_sign_unknowing()
    now = context.now()
    if answer.request != request.digest:
        raise InputError("the answer is to another request than the one that is pending")
    check_current(context, transaction, request)
    _check_bundle(request, answer, transaction, now=now)
    orders = [
        (order, _recorded(context, order.root, transaction, now=now)) for order in request.crls
    ]
    if request.issuing is not None:
        _record_issuing(
            context,
            transaction,
            request.issuing,
            answer.issuing,
            now=now,
            details=_bundle_details(request),
        )
    for order, root in orders:
        complete = with_issuing(order, request.issuing, answer.issuing)
        crls = next((item.crls for item in answer.crls if item.root == root_id(order.root)), None)
        if crls is None:
            raise _missing(f"the CRLs of root {root.key_id}", [order.root])
        _check_crls(complete, crls)
        record_root_crls(complete, crls, root, transaction)
    if request.bundle is not None and answer.bundle is not None:
        transaction.rotation.add_bundle(answer.bundle, now=now)
        is_withdrawn = _withdraw_removed(context, request, transaction, forced=forced)
        if request.issuing is None and not is_withdrawn:
            details = _bundle_details(request)
            transaction.audit.append(context.audit_entry(AuditAction.BUNDLE, **details))
    if request.issuing is None and request.bundle is None:
        names = [root.key_id for _, root in orders]
        transaction.audit.append(context.audit_entry(AuditAction.ROOT_CRLS, roots=names))


def _recorded(
    context: AuthorityContext, root: x509.Certificate, transaction: Transaction, *, now: datetime
) -> IssuerRecord:
    """Return the ledger's record of a root; a new root is recorded as prepared."""
    record = record_or_new(root, transaction, now=now)
    if record.id:
        return record
    transaction.add_issuer(
        root, kind=record.kind, status=record.status, key_id=record.key_id, now=now
    )
    transaction.audit.append(
        context.audit_entry(AuditAction.PREPARE, certificate=root, root=record.key_id)
    )
    return record_or_new(root, transaction, now=now)


def _check_bundle(
    request: RootRequest, answer: RootAnswer, transaction: Transaction, *, now: datetime
) -> None:
    """Check the trust bundle as a follower of the newest one would."""
    newest = transaction.rotation.newest_bundle()
    if request.bundle is None:
        return
    if answer.bundle is None:
        raise _missing("the trust bundle", request.bundle.roots)
    if answer.bundle.content.encode() != request.bundle.encode():
        raise InputError("the answer holds another trust bundle than the requested one")
    if newest is not None:
        follow(newest.bundle, [answer.bundle], now=now)
        return
    for root in request.bundle.roots:
        if not answer.bundle.is_signed_by(root):
            raise _missing("the first trust bundle's signature of each root", [root])


def _record_issuing(
    context: AuthorityContext,
    transaction: Transaction,
    request: IssuerRequest,
    certificate: x509.Certificate | None,
    *,
    now: datetime,
    details: dict[str, Any],
) -> None:
    """Check the issuing CA, record it as prepared, and sign its first CRL."""
    if certificate is None:
        raise _missing("the issuing CA", [request.root])
    order = request.order()
    context.signing.admit_issuer(order, transaction, root=request.root, now=now)
    IssuingProfile.check(certificate)
    IssuingProfile.check_limits(certificate, order.limits)
    asked = (
        request.subject(),
        request.root.subject,
        public_key_fingerprint(order.public_key),
        order.validity.not_before,
        order.validity.not_after,
    )
    signed = (
        certificate.subject,
        certificate.issuer,
        public_key_fingerprint(public_key_of(certificate)),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )
    if signed != asked:
        raise InputError("the answer holds an issuing CA with another name, key or validity")
    if request.serial not in {None, certificate.serial_number}:
        raise InputError("the answer holds an issuing CA with another serial number")
    try:
        certificate.verify_directly_issued_by(request.root)
    except (InvalidSignature, *UNREADABLE):
        raise InputError("the answer holds an issuing CA that its root has not signed") from None
    issuer_id = transaction.add_issuer(
        certificate,
        kind=IssuerKind.ISSUING,
        status=IssuerStatus.PREPARED,
        key_id=request.key_id(),
        now=now,
    )
    record = next(item for item in transaction.issuers() if item.id == issuer_id)
    transaction.audit.append(
        context.audit_entry(
            AuditAction.PREPARE, certificate=certificate, issuing_ca=record.key_id, **details
        )
    )
    context.refresh_crl(record, transaction)


def _check_crls(order: RootCrlOrder, crls: Sequence[Crl]) -> None:
    """Check that the CRLs are those that the order asks for, in its order."""
    expected = list(order.sets())
    if len(crls) != len(expected):
        raise InputError(f"the answer holds {len(crls)} CRLs of a root; {len(expected)} are needed")
    further = frozenset(entry.serial for entry in order.unrecorded)
    for (number, serials), crl in zip(expected, crls, strict=True):
        if not crl.is_signed_by(order.root) or crl.crl.issuer != order.root.subject:
            raise InputError("the answer holds a CRL that its root has not signed")
        if crl.number != number or crl.revoked != serials | further:
            raise InputError("the answer holds a CRL with another number or other entries")
        if (crl.this_update, crl.next_update) != (
            order.this_update,
            order.root.not_valid_after_utc,
        ):
            raise InputError("the answer holds a CRL with another validity")


def _withdraw_removed(
    context: AuthorityContext, request: RootRequest, transaction: Transaction, *, forced: bool
) -> bool:
    """Withdraw the roots that the new bundle does not hold; return whether there are any."""
    is_withdrawn = False
    for root in request.removed_roots():
        record = root_record_of(root, transaction)
        if record is not None:
            transaction.audit.append(
                context.audit_entry(
                    AuditAction.WITHDRAW,
                    certificate=root,
                    root=record.key_id,
                    **_bundle_details(request),
                    **forced_detail(forced=forced),
                )
            )
            is_withdrawn = True
            for item in (record, *issued_by(record, transaction.issuers())):
                if item.status is not IssuerStatus.DISTRUSTED:
                    transaction.set_status(item.id, IssuerStatus.WITHDRAWN)
    return is_withdrawn


def forced_detail(*, forced: bool) -> dict[str, Any]:
    """Return what the audit log holds of a step that was forced; empty if it was not."""
    return {"forced": 1} if forced else {}


def _bundle_details(request: RootRequest) -> dict[str, Any]:
    """Return what the audit log holds of a request's trust bundle; empty without one."""
    if request.bundle is None:
        return {}
    return {"bundle": request.bundle.number, "bundle_sha256": request.bundle.digest.hex()}


def _missing(what: str, roots: Sequence[x509.Certificate]) -> WrongStepError:
    return WrongStepError(
        f"the answer lacks {what}",
        remedy="Sign the request with the key of root "
        f"{' and of root '.join(key_id_of_root(root) for root in roots)} too, and import all "
        "answers at once",
    )
