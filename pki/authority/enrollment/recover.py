"""Recover a line whose last certificate has ended, with its recovery key.

1. A recovery is signed by the line's recovery key, over a nonce of the CA that is good once and for
   a minute.
2. It replaces the recovery key. The workload stores the next one, and the key of the request,
   before it sends the request; so it can send the same again if the answer is lost.
3. An older recovery key that signs anything else shows that somebody has a copy: the line is
   blocked, and only a new proof of another kind helps.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.enrollment.enroll import set_recovery_key
from pki.authority.enrollment.obtained import (
    Obtained,
    Step,
    obtained,
    order_of,
    run_in_steps,
    sign_for_request,
)
from pki.authority.enrollment.registering import is_covered
from pki.authority.ledger import CertificateRecord, Transaction
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.audit.entry import STRANGER
from pki.authority.ledger.lines import LineRecord
from pki.authority.registrations import Proof, Registration
from pki.authority.renewal import check_not_distrusted
from pki.authority.signing import PlannedLeaf
from pki.errors import (
    NotPermittedError,
    NotRecoverableError,
    NotRegisteredError,
    ProofRefusedError,
)
from pki.identity import SpiffeId
from pki.keys import PublicKey, public_key_fingerprint
from pki.proofs import (
    Purpose,
    RecoveryId,
    RecoveryStatement,
    check_binding,
    check_recovery,
    read_recovery_key,
)
from pki.proofs.statement import statement
from pki.x509 import Request, read_request

NONCE_LIFETIME = timedelta(minutes=1)
_RANDOM_BYTES, _TIME_BYTES, _MAC_BYTES = 16, 8, 16
_REMEDY = "Enroll again, with a new token"


class Nonces:
    """The CA's nonces for recoveries. They are kept nowhere until they are used.

    Args:
        mac_key: the CA's key for MACs.
    """

    def __init__(self, mac_key: bytes) -> None:
        self._key = mac_key

    def make(self, recovery_id: RecoveryId, *, now: datetime) -> bytes:
        """Make a nonce for one recovery of one line, good for a minute."""
        body = secrets.token_bytes(_RANDOM_BYTES) + int(now.timestamp()).to_bytes(_TIME_BYTES)
        return body + self._mac(recovery_id, body)

    def made_at(self, nonce: bytes, recovery_id: RecoveryId) -> datetime | None:
        """Return when a nonce was made for this line; None if it was not."""
        body, mac = nonce[:-_MAC_BYTES], nonce[-_MAC_BYTES:]
        if len(body) != _RANDOM_BYTES + _TIME_BYTES or not hmac.compare_digest(
            mac, self._mac(recovery_id, body)
        ):
            return None
        return datetime.fromtimestamp(int.from_bytes(body[_RANDOM_BYTES:]), tz=UTC)

    def _mac(self, recovery_id: RecoveryId, body: bytes) -> bytes:
        signed = statement("nonce", recovery_id.id, body)
        return hmac.digest(self._key, signed, "sha256")[:_MAC_BYTES]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a workload sends to recover.

    Args:
        recovery_id: as it was handed out with the line's certificates.
        nonce: the CA's.
        request: the certificate signing request, DER, with a new key.
        binding: the signature that binds the request to the nonce.
        proof: the signature by the line's recovery key.
        next_key: the public key that replaces the recovery key, DER.
    """

    recovery_id: RecoveryId
    nonce: bytes
    request: bytes
    binding: bytes
    proof: bytes
    next_key: bytes


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A recovery whose signature by the line's recovery key was checked."""

    recovery: Recovery
    made_at: datetime
    request: Request
    next_key: PublicKey


def recover(context: AuthorityContext, recovery: Recovery, *, mac_key: bytes) -> Obtained:
    """Obtain a certificate for a line whose last one has ended.

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
    request = read_request(recovery.request)
    next_key = read_recovery_key(recovery.next_key)
    check_binding(
        request.public_key,
        recovery.binding,
        Purpose.RECOVER,
        context.settings.limits.trust_domain,
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
        if _is_signed(context, recovery, line.recovery_key):
            attempt = _Attempt(recovery, made_at, request, next_key)
            return _recover(acting_as(context, line.spiffe_id), step, line, attempt)
        retired = transaction.lines.retired_recovery_keys(line.id)
        signer = next((key for key in retired if _is_signed(context, recovery, key)), None)
        if signer is None:
            raise _refused(f"no recovery key of line {line.id} signed it")
        if (
            signer == retired[0]
            and recovery.next_key == line.recovery_key
            and newest.key_fingerprint == public_key_fingerprint(request.public_key)
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


def _is_signed(context: AuthorityContext, recovery: Recovery, key: bytes) -> bool:
    made = RecoveryStatement(
        context.settings.limits.trust_domain,
        recovery.recovery_id,
        recovery.nonce,
        recovery.request,
        recovery.next_key,
    )
    try:
        check_recovery(read_recovery_key(key), recovery.proof, made)
    except NotPermittedError:
        return False
    return True


def _recover(
    context: AuthorityContext,
    step: Step,
    line: LineRecord,
    attempt: _Attempt,
) -> Obtained | PlannedLeaf:
    transaction = step.transaction
    now, use_id = context.now(), f"nonce:{attempt.recovery.nonce.hex()}"
    if abs(now - attempt.made_at) > NONCE_LIFETIME or transaction.proofs.used(use_id) is not None:
        raise _refused("its nonce was used or is too old")
    newest = transaction.lines.newest_certificate(line.id)
    assert newest is not None
    registration, by_admin = _allowed(context, transaction, line, newest)
    order = order_of(
        registration, attempt.request.public_key, Proof.RECOVERY, by_admin=by_admin, renews=newest
    )
    signed = sign_for_request(context, step, order, attempt.request)
    if isinstance(signed, PlannedLeaf):
        return signed
    record, notes = signed
    transaction.proofs.add_used(use_id, record.id, at=now, kept_until=now + 2 * NONCE_LIFETIME)
    transaction.lines.add_recovery(line.id, record.id, at=now)
    transaction.audit.append(
        context.audit_entry(
            AuditAction.RECOVER_LINE,
            at=now,
            subject=line.spiffe_id,
            line=line.id,
            to=record.serial,
        )
    )
    assert line.recovery_key is not None
    retired = public_key_fingerprint(read_recovery_key(line.recovery_key))
    set_recovery_key(transaction, record, attempt.next_key, retired=retired, at=now)
    result = obtained(context, transaction, record, notes=notes)
    last = "" if result.recoveries_left else ": its last one in this period"
    transaction.add_event(
        "recovery-last" if last else "recovery",
        f"{line.spiffe_id} recovered line {line.id} to certificate {record.serial}{last}",
        at=now,
        certificate_id=record.id,
    )
    return result


def _allowed(
    context: AuthorityContext,
    transaction: Transaction,
    line: LineRecord,
    newest: CertificateRecord,
) -> tuple[Registration, bool]:
    """Return the registration that allows a recovery now, and whether an admin wrote it."""
    now = context.now()
    found = transaction.registrations.get(SpiffeId.parse(line.spiffe_id))
    if found is None or not is_covered(newest, found[0]):
        raise NotRegisteredError(f"no registration covers the last certificate of {line.spiffe_id}")
    registration, revision = found
    rule = registration.recovery
    last_end = transaction.lines.last_end(line.id)
    if newest.revoked_at is not None or last_end is None:
        raise NotRecoverableError("the line's last certificate was revoked", remedy=_REMEDY)
    check_not_distrusted(newest, transaction)
    if now <= last_end:
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
    if transaction.lines.recoveries(line.id, since=now - rule.within) >= rule.times:
        raise NotRecoverableError(
            f"the line has recovered {rule.times} times within {rule.within}", remedy=_REMEDY
        )
    return registration, revision.by_admin


def _refused(cause: str) -> ProofRefusedError:
    return ProofRefusedError("the recovery is not accepted", cause=cause, remedy=_REMEDY)
