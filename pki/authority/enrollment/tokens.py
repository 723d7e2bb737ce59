"""Make enrollment tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.enrollment.registering import registered
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.proofs import TokenRecord
from pki.authority.lifetimes import duration_text
from pki.authority.registrations import Caller, Proof
from pki.errors import InputError, NotRegisteredError
from pki.identity import SpiffeId
from pki.proofs import TokenCredential

DEFAULT_TOKEN = timedelta(minutes=10)
MAX_TOKEN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made; its secret is shown once and not kept.

    Args:
        spiffe_id: the workload that it enrolls.
        credential: what the workload sends to the CA.
        expires_at: from when it is good no more.
    """

    spiffe_id: SpiffeId
    credential: TokenCredential
    expires_at: datetime


def create_token(
    context: AuthorityContext,
    caller: Caller,
    spiffe_id: SpiffeId,
    lifetime: timedelta = DEFAULT_TOKEN,
) -> NewToken:
    """Make a token with which a registered workload can enroll once.

    Args:
        context: the CA.
        caller: who asks for it.
        spiffe_id: the workload.
        lifetime: how long the token is good: whole seconds, at most a day.

    Raises:
        NotRegisteredError: if the workload is not registered for tokens.
        NotPermittedError: if the caller may not decide on this workload.
        InputError: if the lifetime is none.
    """
    if not timedelta(seconds=1) <= lifetime <= MAX_TOKEN or lifetime.microseconds:
        raise InputError(
            f"a token can't be good for {duration_text(lifetime)}",
            remedy="Choose whole seconds up to 24h",
        )
    context = acting_as(context, caller.name)
    refusal = context.audit_entry(
        AuditAction.REFUSE, subject=str(spiffe_id), asked=AuditAction.TOKEN.value
    )
    with (
        recorded_refusals(context.ledger, refusal),
        context.ledger.transaction() as transaction,
    ):
        registration, _ = registered(context, transaction, caller, spiffe_id)
        if not registration.allows(Proof.TOKEN):
            raise NotRegisteredError(
                f"{spiffe_id} is not registered for enrollment by token",
                remedy="Add token to the proofs of its registration",
            )
        credential = TokenCredential.make(transaction.proofs.mac_key())
        now = context.now()
        transaction.proofs.add_token(
            TokenRecord(
                credential.id.hex(),
                credential.secret_hash.hex(),
                str(spiffe_id),
                caller.is_admin,
                now,
                caller.name,
                now + lifetime,
            )
        )
        transaction.audit.append(
            context.audit_entry(
                AuditAction.TOKEN,
                at=now,
                subject=str(spiffe_id),
                token=credential.id.hex(),
                lifetime=int(lifetime.total_seconds()),
            )
        )
        return NewToken(spiffe_id, credential, now + lifetime)
