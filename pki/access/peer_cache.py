"""Cache entries of peers: a parsed chain, its last verification, and the calls it was allowed.

Thousands of peers are cached, so the certificates themselves are not, only the bytes that identify
them: the chain is parsed again when trust has changed.

The result of a verification is one value that is replaced whole: where one call is authorized by
old trust while another one is authorized by new trust, neither leaves half of its result behind.
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
from pki.x509.readers import read_chain, read_issuing_cas

_REFUSED_FOR = timedelta(seconds=1)
_PERMANENT = frozenset({Fault.REVOKED, Fault.ISSUER_REVOKED, Fault.EXPIRED})
_NEVER = datetime.max.replace(tzinfo=UTC)
_MOST_METHODS = 256
_LONGEST_METHOD = 256
_MOVE_INTERVAL = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class CachedDecisions:
    """What one policy decided on a caller: its roles, and the verdicts on calls it allowed."""

    policy: Policy
    roles: tuple[str, ...]
    allowed: dict[str, CallVerdict] = field(default_factory=dict)

    def add(self, verdict: CallVerdict) -> None:
        """Cache a verdict, within bounds: a caller may invent any number of methods."""
        if len(self.allowed) < _MOST_METHODS and len(verdict.method) <= _LONGEST_METHOD:
            self.allowed[verdict.method] = verdict


@dataclass(slots=True)
class CachedVerification:
    """The result of a verification, and how long it holds; all but ``decisions`` is constant.

    Args:
        trust: the trust that it rests on.
        names: the names in the leaf; None if the chain was refused.
        principal: the caller; None if the chain was refused.
        refusal: why the chain was refused; None if it was not.
        detail: the same in detail, for the log.
        valid_from: the result holds from this time on.
        valid_until: and before this one.
        decisions: what the last policy decided on the caller.
    """

    trust: object
    names: CertificateNames | None
    principal: Principal | None
    refusal: Refusal | None
    detail: str
    valid_from: datetime
    valid_until: datetime
    decisions: CachedDecisions | None = None

    def decisions_by(self, policy: Policy) -> CachedDecisions:
        """Return what a policy decided on the caller."""
        decisions = self.decisions
        if decisions is None or decisions.policy is not policy:
            roles = role_names(policy.roles_of(self.principal)) if self.principal else ()
            decisions = self.decisions = CachedDecisions(policy, roles)
        return decisions


class CachedPeer:
    """A chain that was parsed once.

    Args:
        key: its bytes, as ``auth_context()`` returns them.
        now: the time, when it was used and moved to the end of the cache.

    Raises:
        InputError: if it can't be parsed.
    """

    __slots__ = (
        "__weakref__",
        "chain",
        "claimed_id",
        "issuer",
        "key",
        "last_moved",
        "last_used",
        "next_move",
        "not_after",
        "proof",
        "serial",
        "verification",
    )

    def __init__(self, key: tuple[bytes, ...], now: datetime) -> None:
        # Dropped after the first verification: thousands of peers are cached.
        self.chain: tuple[x509.Certificate, ...] | None = read_peer_key(key)
        leaf = self.chain[0]
        self.key = key
        self.issuer = leaf.issuer.rfc4514_string()
        self.serial = leaf.serial_number
        self.not_after = leaf.not_valid_after_utc
        self.claimed_id = _claimed_id(leaf)
        self.verification: CachedVerification | None = None
        self.proof: PathProof | None = None
        self.last_used = now
        self.note_moved(now)

    def note_moved(self, now: datetime) -> None:
        """Record that the entry was moved to the end of the cache, and when to do so again."""
        self.last_moved, self.next_move = now, now + _MOVE_INTERVAL

    def verify(self, verifier: ChainVerifier, now: datetime) -> CachedVerification:
        """Return the result of verifying the chain, the last one if it still holds."""
        last = self.verification
        if (
            last is None
            or last.trust is not verifier.token
            or not last.valid_from <= now < last.valid_until
        ):
            last = self.verification = self._verify(verifier, now)
        return last

    def _verify(self, verifier: ChainVerifier, now: datetime) -> CachedVerification:
        proof, names = self.proof, None
        try:
            # A chain that was accepted before has only to be looked up in the new lists.
            span = None if proof is None else verifier.verify_again(proof, now)
            if span is None or proof is None:
                chain, self.chain = self.chain or read_peer_key(self.key), None
                verified = verifier.verify(chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=now)
                proof = self.proof = verified.proof
                span = verified.valid_from, verified.valid_until
            names = proof.names
        except VerificationError as error:
            return self._refused(error, verifier, now)
        last = self.verification
        if last is not None and last.names is names:
            # The principal, and what a policy decides on it, depend on the names alone.
            principal, decisions = last.principal, last.decisions
        else:
            principal, decisions = _principal_of(names), None
        return CachedVerification(verifier.token, names, principal, None, "", *span, decisions)

    def _refused(
        self, error: VerificationError, verifier: ChainVerifier, now: datetime
    ) -> CachedVerification:
        refusal = client_refusal(error.fault, self.serial)
        # Verify again after a second, so that a corrected clock or list is noticed. A fault that
        # time can't mend is not verified again: a caller could make us verify each second.
        since = now - _REFUSED_FOR
        until = _NEVER if error.fault in _PERMANENT else now + _REFUSED_FOR
        return CachedVerification(verifier.token, None, None, refusal, str(error), since, until)


def read_peer_key(key: tuple[bytes, ...]) -> tuple[x509.Certificate, ...]:
    """Return the chain of a peer: the leaf first.

    Raises:
        InputError: if it can't be parsed.
    """
    # gRPC repeats the leaf at the beginning of the chain.
    leaf = read_chain(key[0])
    if len(key) == 1:
        return leaf
    if key[1].startswith(key[0]):
        rest = key[1][len(key[0]) :]
        return (*leaf, *read_issuing_cas(rest)) if rest else leaf
    chain = read_chain(key[1])
    return chain if chain[0] == leaf[0] else (*leaf, *chain)


def _principal_of(names: CertificateNames) -> Principal:
    return Principal(names.spiffe_id, frozenset(names.dns_names), names.subject)


def _claimed_id(leaf: x509.Certificate) -> str:
    """Return the SPIFFE ID that a leaf holds, for messages alone: nothing is decided by it."""
    try:
        return str(read_names(leaf).spiffe_id or "")
    except InputError:
        return ""
