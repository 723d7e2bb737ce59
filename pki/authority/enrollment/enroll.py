"""Enroll: the first certificate of a line, for a token or a verified JWT.

The stages, so that nobody makes the CA work before something was proved:

1. The token's MAC: the CA knows its own ids without looking them up.
2. The request, and its binding to the proof.
3. One transaction: the token's secret and time; a repeated request; the registration; the
   signature; the token's one use, which only one of many wins; the commit.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.enrollment.obtained import (
    Obtained,
    Step,
    obtained,
    order_of,
    record_of,
    run_in_steps,
    sign_for_request,
)
from pki.authority.issuing.repeats import REPEATED_WITHIN
from pki.authority.ledger import CertificateRecord, Transaction
from pki.authority.ledger.lines import LineRecord
from pki.authority.registrations import Proof, Registration
from pki.authority.signing import PlannedLeaf
from pki.errors import InputError, NotRegisteredError, ProofRefusedError
from pki.identity import SpiffeId
from pki.keys import IdentifiedKey, PublicKey
from pki.proofs import (
    Purpose,
    TokenCredential,
    check_binding,
    encode_recovery_key,
    read_recovery_key,
)
from pki.x509 import Request, read_request

_TOKEN_REFUSED = "the token is not accepted: it is unknown, was used or has expired"  # noqa: S105
_REMEDY = "Ask for a new one: handfast token create"
_CLOCKS_DIFFER = timedelta(seconds=30)
"""By so much the clock of an issuer of JWTs may be ahead."""


@dataclass(frozen=True, slots=True)
class VerifiedJwt:
    """A JWT that was verified.

    Args:
        id: what is unique in it: its issuer and ``jti``, or its hash.
        data: its bytes, to which the request is bound.
        issuer: its ``iss``.
        claims: its claims whose values are texts.
        expires_at: from when it is good no more.
        issued_at: its ``iat``.
    """

    id: str
    data: bytes
    issuer: str
    claims: tuple[tuple[str, str], ...]
    expires_at: datetime
    issued_at: datetime

    def fits(self, registration: Registration) -> bool:
        """Return whether it proves the workload of a registration."""
        rule = registration.oidc
        return (
            registration.allows(Proof.OIDC)
            and rule is not None
            and rule.issuer == self.issuer
            and set(rule.claims) <= set(self.claims)
        )


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What a workload sends to enroll.

    Args:
        proof: a token's credential, or a JWT that was verified.
        request: the certificate signing request, DER.
        binding: the signature that binds the request to the proof.
        recovery_key: the public key for recoveries, DER; empty for none.
        spiffe_id: the workload; None for the token's.
    """

    proof: TokenCredential | VerifiedJwt
    request: bytes
    binding: bytes
    recovery_key: bytes = b""
    spiffe_id: SpiffeId | None = None


@dataclass(frozen=True, slots=True)
class _Checked:
    """The parts of an enrollment that were read, and whose request is bound to its proof."""

    spiffe_id: SpiffeId | None
    request: Request
    recovery_key: PublicKey | None


def enroll(context: AuthorityContext, enrollment: Enrollment, *, mac_key: bytes) -> Obtained:
    """Obtain the first certificate of a line.

    Args:
        context: the CA.
        enrollment: what the workload sent.
        mac_key: the CA's key for MACs.

    Raises:
        ProofRefusedError: if the proof is not accepted.
        NotRegisteredError: if no registration allows it.
        NotPermittedError: if the request is not bound to the proof, or asks for another name, or
            the CA's rules forbid it.
        InputError: if the request or the recovery key is malformed.
    """
    proof = enrollment.proof
    if isinstance(proof, TokenCredential) and not proof.is_of(mac_key):
        raise token_refused("its MAC is not this CA's")
    request = read_request(enrollment.request)
    bound_to = proof.id if isinstance(proof, TokenCredential) else proof.data
    check_binding(
        request.public_key,
        enrollment.binding,
        Purpose.ENROLL,
        context.settings.limits.trust_domain,
        proof=bound_to,
        request=enrollment.request,
    )
    recovery_key = None
    if enrollment.recovery_key:
        recovery_key = read_recovery_key(enrollment.recovery_key)
    checked = _Checked(enrollment.spiffe_id, request, recovery_key)
    by = f"token:{proof.id.hex()}" if isinstance(proof, TokenCredential) else f"oidc:{proof.issuer}"
    context = acting_as(context, by)

    def decide(step: Step) -> Obtained | PlannedLeaf:
        if isinstance(proof, TokenCredential):
            return _enroll_by_token(context, step, checked, proof)
        return _enroll_by_jwt(context, step, checked, proof)

    return run_in_steps(context, decide)


def token_refused(cause: str) -> ProofRefusedError:
    """Return the error that tells the sender of a token the same in every case."""
    return ProofRefusedError(_TOKEN_REFUSED, cause=cause, remedy=_REMEDY)


def _enroll_by_token(
    context: AuthorityContext,
    step: Step,
    checked: _Checked,
    credential: TokenCredential,
) -> Obtained | PlannedLeaf:
    transaction, token_id, now = step.transaction, credential.id.hex(), context.now()
    token = transaction.proofs.token(token_id)
    if token is None:
        raise token_refused("there is no such token")
    if not hmac.compare_digest(token.secret_hash, credential.secret_hash.hex()):
        raise token_refused(f"the secret of token {token_id} is wrong")
    spiffe_id = SpiffeId.parse(token.spiffe_id)
    if checked.spiffe_id is not None and checked.spiffe_id != spiffe_id:
        raise token_refused(f"token {token_id} is for {spiffe_id}")
    use_id = f"token:{token_id}"
    if token.used_at is not None:
        record = _repeated(context, transaction, use_id, checked)
        if record is None:
            raise token_refused(f"token {token_id} was used at {token.used_at}")
        return obtained(context, transaction, record, is_repeated=True)
    if not token.created_at - context.settings.backdate <= now < token.expires_at:
        raise token_refused(f"token {token_id} was good until {token.expires_at}")
    found = transaction.registrations.get(spiffe_id)
    if found is None:
        raise NotRegisteredError(f"{spiffe_id} is not registered any more")
    registration, revision = found
    order = order_of(
        registration,
        checked.request.key,
        Proof.TOKEN,
        by_admin=token.by_admin and revision.by_admin,
    )
    result = sign_for_request(context, step, order, checked.request)
    if isinstance(result, PlannedLeaf):
        return result
    new, notes = result
    record = record_of(transaction, new)
    # Another transaction may have read the unused token too, where the ledger runs several at once.
    if not transaction.proofs.use_token(token_id, at=now):
        raise token_refused(f"token {token_id} was used at the same time")
    return _finish(
        context,
        transaction,
        record,
        use_id,
        checked.recovery_key,
        kept_until=max(token.expires_at, now + REPEATED_WITHIN),
        notes=notes,
    )


def _enroll_by_jwt(
    context: AuthorityContext,
    step: Step,
    checked: _Checked,
    jwt: VerifiedJwt,
) -> Obtained | PlannedLeaf:
    transaction, now, use_id = step.transaction, context.now(), f"oidc:{jwt.id}"
    if transaction.proofs.used(use_id) is not None:
        record = _repeated(context, transaction, use_id, checked)
        if record is None:
            raise _jwt_refused("it was used before")
        return obtained(context, transaction, record, is_repeated=True)
    restored_at = transaction.recovery.restored_at()
    if restored_at is not None and jwt.issued_at < restored_at + _CLOCKS_DIFFER:
        raise _jwt_refused("it is from before the CA was restored, and may have been used then")
    if checked.spiffe_id is None:
        raise InputError(
            "an enrollment with a JWT names the workload", remedy="Send the SPIFFE ID too"
        )
    found = transaction.registrations.get(checked.spiffe_id)
    if found is None or not jwt.fits(found[0]):
        # The same for a workload that is not registered: a stranger learns no names.
        raise _jwt_refused(f"it does not fit a registration of {checked.spiffe_id}")
    registration, revision = found
    order = order_of(registration, checked.request.key, Proof.OIDC, by_admin=revision.by_admin)
    result = sign_for_request(context, step, order, checked.request)
    if isinstance(result, PlannedLeaf):
        return result
    new, notes = result
    record = record_of(transaction, new)
    return _finish(
        context,
        transaction,
        record,
        use_id,
        checked.recovery_key,
        kept_until=max(jwt.expires_at, now + REPEATED_WITHIN),
        notes=notes,
    )


def _jwt_refused(cause: str) -> ProofRefusedError:
    return ProofRefusedError(
        "the JWT is not accepted for this workload",
        cause=cause,
        remedy="See the log of the CA, and the registration's OIDC rule",
    )


def _finish(
    context: AuthorityContext,
    transaction: Transaction,
    record: CertificateRecord,
    use_id: str,
    recovery_key: PublicKey | None,
    *,
    kept_until: datetime,
    notes: tuple[str, ...],
) -> Obtained:
    now = context.now()
    transaction.proofs.forget_used(now=now - timedelta(days=1))
    transaction.proofs.add_used(use_id, record.id, at=now, kept_until=kept_until)
    if recovery_key is not None:
        set_recovery_key(transaction, record, recovery_key, at=now)
    return obtained(context, transaction, record, notes=notes)


def set_recovery_key(
    transaction: Transaction,
    record: CertificateRecord,
    key: PublicKey,
    *,
    at: datetime,
    retired: str | None = None,
) -> None:
    """Set the key for the next recovery of a certificate's line.

    Raises:
        InputError: if the key has, or had, another use.
    """
    identity = IdentifiedKey.of(key)
    if transaction.keys.contains(identity) or transaction.lines.is_recovery_key_known(
        identity.fingerprint, identity.der
    ):
        raise InputError(
            "the recovery key is used for something else", remedy="Make a key for this alone"
        )
    transaction.lines.set_recovery_key(record.line_id, identity.der, retired=retired, at=at)


def _repeated(
    context: AuthorityContext,
    transaction: Transaction,
    use_id: str,
    checked: _Checked,
) -> CertificateRecord | None:
    """Return the certificate that a proof was used for, if the request is the same again."""
    use = transaction.proofs.used(use_id)
    record = None if use is None else transaction.certificate_by_id(use.certificate_id)
    if use is None or record is None:
        return None
    line = transaction.lines.get(record.line_id)
    is_same = (
        # The absolute value, because the clock may have jumped back since.
        abs(context.now() - use.used_at) <= REPEATED_WITHIN
        and record.key_fingerprint == checked.request.key.fingerprint
        and record.revoked_at is None
        and line is not None
        and line.blocked_at is None
        and has_recovery_key(line, checked.recovery_key)
    )
    return record if is_same else None


def has_recovery_key(line: LineRecord, key: PublicKey | None) -> bool:
    """Return whether this is the recovery key of a line; None for a line without one."""
    return line.recovery_key == (None if key is None else encode_recovery_key(key))
