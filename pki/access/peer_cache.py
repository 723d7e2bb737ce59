"""A chain seen before, and what its last verification said.

Thousands are kept, so the certificates themselves are not, but for the bytes that they are known
by: they are read again when trust has changed.

What a verification says is one value that is replaced whole: a call that is judged by old trust
while another is judged by new trust never leaves half of its answer behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509

from pki.access.call_verdict import CallVerdict
from pki.access.refusal import Refusal, client_refusal
from pki.authz import Policy, Principal
from pki.authz.policy import role_names
from pki.errors import InputError, VerificationError
from pki.x509 import WORKLOAD, CertificateNames, ChainVerifier, Fault, Purpose, read_names
from pki.x509.proof import PathProof
from pki.x509.readers import read_chain

_REFUSED_FOR = timedelta(seconds=1)
_FOR_GOOD = frozenset({Fault.REVOKED, Fault.ISSUER_REVOKED, Fault.EXPIRED})
_NEVER = datetime.max.replace(tzinfo=UTC)
_MOST_ANSWERS = 256
_LONGEST_METHOD = 256
# Those that call stand last among the known; one that calls all the time is moved there this often.
_MOVED_EVERY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class CachedDecisions:
    """What one policy says to a caller: its roles, and the calls that it was allowed already."""

    policy: Policy
    roles: tuple[str, ...]
    allowed: dict[str, CallVerdict] = field(default_factory=dict)

    def keep(self, judgement: CallVerdict) -> None:
        """Keep an answer, unless a caller that thinks up methods would fill the memory."""
        if len(self.allowed) < _MOST_ANSWERS and len(judgement.method) <= _LONGEST_METHOD:
            self.allowed[judgement.method] = judgement


@dataclass(slots=True)
class CachedVerification:
    """What a verification said, and how long it counts; all but ``answers`` stays as it is.

    Args:
        by: stands for the verifier that said it.
        names: those of the leaf as it was accepted; None if the chain was refused.
        principal: the caller; None if the chain was refused.
        refusal: why it was refused.
        why: the same in words, for the log.
        good_from: it counts from this time.
        good_until: and before this one.
        answers: what the policy that was asked last says to the caller.
    """

    by: object
    names: CertificateNames | None
    principal: Principal | None
    refusal: Refusal | None
    why: str
    good_from: datetime
    good_until: datetime
    answers: CachedDecisions | None = None

    def answers_of(self, policy: Policy) -> CachedDecisions:
        """Return what a policy says to the caller."""
        answers = self.answers
        if answers is None or answers.policy is not policy:
            roles = role_names(policy.roles_of(self.principal)) if self.principal else ()
            answers = self.answers = CachedDecisions(policy, roles)
        return answers


class CachedPeer:
    """A chain that was read once.

    Args:
        key: its bytes, as ``auth_context()`` gives them.
        now: the time: when it was used, and moved behind all others that are kept.

    Raises:
        InputError: if it can't be read.
    """

    __slots__ = (
        "claimed",
        "issuer",
        "key",
        "moved",
        "moves_at",
        "not_after",
        "proof",
        "serial",
        "used",
        "verdict",
    )

    def __init__(self, key: tuple[bytes, ...], now: datetime) -> None:
        leaf = read_key(key)[0]
        self.key = key
        self.issuer = leaf.issuer.rfc4514_string()
        self.serial = leaf.serial_number
        self.not_after = leaf.not_valid_after_utc
        self.claimed = _claimed_id(leaf)
        self.verdict: CachedVerification | None = None
        self.proof: PathProof | None = None
        self.used = now
        self.note_moved(now)

    def note_moved(self, now: datetime) -> None:
        """Take down that it was moved behind all others, and when that is due again."""
        self.moved, self.moves_at = now, now + _MOVED_EVERY

    def verdict_of(self, verifier: ChainVerifier, now: datetime) -> CachedVerification:
        """Return what a verifier says of the chain at a time; verify it if that is not known."""
        verdict = self.verdict
        if (
            verdict is None
            or verdict.by is not verifier.mark
            or not verdict.good_from <= now < verdict.good_until
        ):
            verdict = self.verdict = self._verified(verifier, now)
        return verdict

    def _verified(self, verifier: ChainVerifier, now: datetime) -> CachedVerification:
        proof, names = self.proof, None
        try:
            # What was accepted once has only to be asked about in the new lists.
            span = None if proof is None else verifier.verify_again(proof, now)
            if span is None or proof is None:
                found = verifier.verify(
                    read_key(self.key), profile=WORKLOAD, purpose=Purpose.CLIENT, at=now
                )
                proof = self.proof = found.proof
                span = found.good_from, found.good_until
            names = proof.names
        except VerificationError as error:
            return self._refused(error, verifier, now)
        before = self.verdict
        if before is not None and before.names is names:
            # Who it is, and what the policy says to it, depends on the names alone.
            principal, answers = before.principal, before.answers
        else:
            principal, answers = _principal_of(names), None
        return CachedVerification(verifier.mark, names, principal, None, "", *span, answers)

    def _refused(
        self, error: VerificationError, verifier: ChainVerifier, now: datetime
    ) -> CachedVerification:
        refusal = client_refusal(error.fault, self.serial)
        # A refusal is looked at again soon, so that a mended clock is seen; one that time can't
        # mend is not, or whoever calls again and again would have us verify each second.
        since = now - _REFUSED_FOR
        until = _NEVER if error.fault in _FOR_GOOD else now + _REFUSED_FOR
        return CachedVerification(verifier.mark, None, None, refusal, str(error), since, until)


def read_key(key: tuple[bytes, ...]) -> tuple[x509.Certificate, ...]:
    """Read a chain: the leaf first.

    Raises:
        InputError: if it can't be read.
    """
    # The leaf is repeated at the head of the chain that gRPC gives.
    leaf = read_chain(key[0])
    if len(key) == 1:
        return leaf
    chain = read_chain(key[1])
    return chain if chain[0] == leaf[0] else (*leaf, *chain)


def _principal_of(names: CertificateNames) -> Principal:
    return Principal(names.spiffe_id, frozenset(names.dns_names), names.subject)


def _claimed_id(leaf: x509.Certificate) -> str:
    """Return the SPIFFE ID that a leaf holds, for the log of refusals; never to decide by."""
    try:
        return str(read_names(leaf).spiffe_id or "")
    except InputError:
        return ""
