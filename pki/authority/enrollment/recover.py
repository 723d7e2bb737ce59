"""Recover a line whose last certificate has ended, or has not begun, with its recovery key.

1. A recovery is signed by the line's recovery key, over a nonce of the CA that is good once and for
   a minute.
2. It replaces the recovery key. The workload stores the next one, and the key of the request,
   before it sends the request; so it can send the same again if the answer is lost.
3. A request with the key of the line's newest certificate is by a workload that has renewed, and
   did not get the answer. While that certificate is in force it is handed out again, once, which is
   not counted as a recovery. The recovery key is replaced all the same.
4. An older recovery key that signs anything else shows that somebody has a copy: the line is
   blocked, and only a new proof of another kind helps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.enrollment.enroll import set_recovery_key
from pki.authority.enrollment.nonces import NONCE_LIFETIME, Nonces
from pki.authority.enrollment.obtained import (
    Obtained,
    Step,
    obtained,
    order_of,
    record_of,
    run_in_steps,
    sign_for_request,
)
from pki.authority.enrollment.recovery import Recovery
from pki.authority.enrollment.registering import is_covered
from pki.authority.issuing.renewal import check_not_distrusted
from pki.authority.ledger import CertificateRecord, Transaction
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.audit.entry import STRANGER
from pki.authority.ledger.lines import LineRecord
from pki.authority.registrations import Proof, RecoveryRule, Registration
from pki.authority.signing import PlannedLeaf
from pki.errors import (
    NotRecoverableError,
    NotRegisteredError,
    ProofRefusedError,
)
from pki.identity import SpiffeId
from pki.keys import PublicKey, public_key_fingerprint
from pki.proofs import (
    Purpose,
    check_binding,
    read_recovery_key,
)
from pki.x509 import Request, read_request

_MOST_COMPARED = 64
_REMEDY = "Enroll again, with a new token"


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A recovery whose signature by the line's recovery key was checked."""

    recovery: Recovery
    made_at: datetime
    request: Request
    next_key: PublicKey


def recover(context: AuthorityContext, recovery: Recovery, *, mac_key: bytes) -> Obtained:
    """Obtain a certificate for a line whose last one has ended, or has not begun.

    Args:
        context: the CA.
        recovery: what the workload sent.
        mac_key: the CA's key for MACs.

    Raises:
        ProofRefusedError: if id, nonce or signature are not accepted.
        NotRecoverableError: if the line may not recover now.
        NotRegisteredError: if no registration allows it any more.
        NotPermittedError: if the request is not bound to the nonce, or asks for another name.
        InputError: if the request or the next recovery key is malformed.
    """
    made_at = None
    if recovery.recovery_id.is_of(mac_key):
        made_at = Nonces(mac_key).made_at(recovery.nonce, recovery.recovery_id)
    if made_at is None:
        raise _refused("its id or its nonce is not this CA's")
    context = acting_as(context, STRANGER.name)
    domain = context.settings.limits.trust_domain
    request = read_request(recovery.request)
    next_key = read_recovery_key(recovery.next_key)
    check_binding(
        request.public_key,
        recovery.binding,
        Purpose.RECOVER,
        domain,
        proof=recovery.nonce,
        request=recovery.request,
    )

    def decide(step: Step) -> Obtained | PlannedLeaf | None:
        transaction = step.transaction
        line = transaction.lines.get(recovery.recovery_id.id.hex())
        newest = None if line is None else transaction.lines.newest_certificate(line.id)
        if line is None or newest is None:
            raise _refused("there is no such line")
        if line.blocked_at is not None or line.recovery_key is None:
            # Signed or not: who has no key of the line learns nothing new from this.
            raise NotRecoverableError("the line can't recover any more", remedy=_REMEDY)
        if recovery.is_signed(domain, line.recovery_key):
            attempt = _Attempt(recovery, made_at, request, next_key)
            return _recover(acting_as(context, line.spiffe_id), step, line, attempt)
        retired = transaction.lines.retired_recovery_keys(line.id)
        # Each takes a verification, in a transaction that others wait for.
        compared = retired[:_MOST_COMPARED]
        signer = next((key for key in compared if recovery.is_signed(domain, key)), None)
        if signer is None:
            raise _refused(f"no recovery key of line {line.id} signed it")
        if (
            signer == retired[0]
            and recovery.next_key == line.recovery_key
            and newest.key_fingerprint == request.key.fingerprint
            and newest.revoked_at is None
        ):
            # The same keys again: the answer was lost.
            return obtained(context, transaction, newest, is_repeated=True)
        # Refused after this transaction: an exception here would undo the block.
        transaction.add_event(
            "recovery-key-copied",
            f"a recovery key of {line.spiffe_id} that was replaced signed another recovery: "
            f"somebody has a copy of it, and line {line.id} is blocked",
            at=context.now(),
            certificate_id=newest.id,
        )
        transaction.lines.block(
            [line.id], reason="a recovery key that was replaced was used", at=context.now()
        )
        transaction.audit.append(
            context.audit_entry(
                AuditAction.BLOCK_LINE,
                subject=line.spiffe_id,
                reason="recovery-key-copied",
                line=line.id,
            )
        )
        return None

    result = run_in_steps(context, decide)
    if result is not None:
        return result
    raise NotRecoverableError(
        "the recovery key was replaced: somebody has a copy of it, and the line is blocked",
        remedy=_REMEDY,
    )


def _recover(
    context: AuthorityContext,
    step: Step,
    line: LineRecord,
    attempt: _Attempt,
) -> Obtained | PlannedLeaf:
    transaction = step.transaction
    now = context.now()
    is_used = transaction.proofs.used(_use_id(attempt)) is not None
    if is_used or abs(now - attempt.made_at) > NONCE_LIFETIME:
        raise _refused("its nonce was used or is too old")
    newest = transaction.lines.newest_certificate(line.id)
    assert newest is not None
    registration, by_admin = _covering(transaction, line, newest)
    if _is_lost_renewal(context, transaction, attempt, newest):
        return _hand_out_again(context, transaction, attempt, newest)
    _check_allowed(context, transaction, newest, registration.recovery)
    order = order_of(
        registration, attempt.request.key, Proof.RECOVERY, by_admin=by_admin, renews=newest
    )
    signed = sign_for_request(context, step, order, attempt.request)
    if isinstance(signed, PlannedLeaf):
        return signed
    new, notes = signed
    record = record_of(transaction, new)
    transaction.lines.add_recovery(line.id, record.id, at=now)
    _replace_key(context, transaction, attempt, record)
    result = obtained(context, transaction, record, notes=notes)
    last = "" if result.recoveries_left else ": its last one in this period"
    transaction.add_event(
        "recovery-last" if last else "recovery",
        f"{line.spiffe_id} recovered line {line.id} to certificate {record.serial}{last}",
        at=now,
        certificate_id=record.id,
    )
    return result


def _is_lost_renewal(
    context: AuthorityContext,
    transaction: Transaction,
    attempt: _Attempt,
    newest: CertificateRecord,
) -> bool:
    """Return whether the workload renewed, and asks because it did not get the answer.

    Once for each certificate: each time another recovery key is replaced.
    """
    return (
        transaction.proofs.used(_hand_out_id(newest)) is None
        and newest.key_fingerprint == attempt.request.key.fingerprint
        and newest.not_before <= context.now() <= newest.not_after
    )


def _hand_out_id(certificate: CertificateRecord) -> str:
    return f"handed-out-again:{certificate.id}"


def _hand_out_again(
    context: AuthorityContext,
    transaction: Transaction,
    attempt: _Attempt,
    newest: CertificateRecord,
) -> Obtained:
    """Return the line's newest certificate to the workload that holds its key."""
    # The workload uses its next recovery key from now on, as after every answer.
    _replace_key(context, transaction, attempt, newest, reason="answer-lost")
    transaction.proofs.add_used(
        _hand_out_id(newest), newest.id, at=context.now(), kept_until=newest.not_after
    )
    return obtained(context, transaction, newest, is_repeated=True)


def _replace_key(
    context: AuthorityContext,
    transaction: Transaction,
    attempt: _Attempt,
    record: CertificateRecord,
    *,
    reason: str | None = None,
) -> None:
    """Use up the nonce, and put the next recovery key of a line in the place of the present one.

    Args:
        context: the CA.
        transaction: of the ledger.
        attempt: the recovery.
        record: the certificate that it is answered with.
        reason: why this is no recovery of a line that has ended; None if it is one.
    """
    now, line = context.now(), transaction.lines.get(record.line_id)
    assert line is not None
    assert line.recovery_key is not None
    transaction.proofs.add_used(
        _use_id(attempt), record.id, at=now, kept_until=now + 2 * NONCE_LIFETIME
    )
    transaction.audit.append(
        context.audit_entry(
            AuditAction.RECOVER_LINE,
            at=now,
            subject=line.spiffe_id,
            line=line.id,
            to=record.serial,
            reason=reason,
        )
    )
    retired = public_key_fingerprint(read_recovery_key(line.recovery_key))
    set_recovery_key(transaction, record, attempt.next_key, retired=retired, at=now)


def _covering(
    transaction: Transaction, line: LineRecord, newest: CertificateRecord
) -> tuple[Registration, bool]:
    """Return the registration that covers a line's newest certificate, and if an admin wrote it.

    Raises:
        NotRegisteredError: if there is none.
        NotRecoverableError: if the certificate was revoked, or it allows no recovery.
        NotRenewableError: if its issuing CA is distrusted.
    """
    found = transaction.registrations.get(SpiffeId.parse(line.spiffe_id))
    if found is None or not is_covered(newest, found[0]):
        raise NotRegisteredError(f"no registration covers the last certificate of {line.spiffe_id}")
    registration, revision = found
    if newest.revoked_at is not None:
        raise NotRecoverableError("the line's last certificate was revoked", remedy=_REMEDY)
    check_not_distrusted(newest, transaction)
    if not registration.recovery.times:
        raise NotRecoverableError("its registration allows no recovery", remedy=_REMEDY)
    return registration, revision.by_admin


def _check_allowed(
    context: AuthorityContext,
    transaction: Transaction,
    newest: CertificateRecord,
    rule: RecoveryRule,
) -> None:
    """Check that a line may recover now.

    Raises:
        NotRecoverableError: if it may not.
    """
    now, line_id = context.now(), newest.line_id
    last_end = transaction.lines.last_end(line_id)
    assert last_end is not None
    # One that has not begun was issued while clocks were ahead, and is of no use yet.
    if newest.not_before <= now <= last_end:
        raise NotRecoverableError(
            f"the line's last certificate is valid until {last_end:%Y-%m-%d %H:%M:%S} UTC",
            remedy="Renew it instead",
        )
    if now > last_end + rule.max_sleep:
        raise NotRecoverableError(
            f"the line's last certificate ended at {last_end:%Y-%m-%d %H:%M:%S} UTC, longer ago "
            f"than the {rule.max_sleep} that its registration allows",
            remedy=_REMEDY,
        )
    if transaction.lines.recoveries(line_id, since=now - rule.within) >= rule.times:
        raise NotRecoverableError(
            f"the line has recovered {rule.times} times within {rule.within}", remedy=_REMEDY
        )


def _use_id(attempt: _Attempt) -> str:
    return f"nonce:{attempt.recovery.nonce.hex()}"


def _refused(cause: str) -> ProofRefusedError:
    return ProofRefusedError("the recovery is not accepted", cause=cause, remedy=_REMEDY)
