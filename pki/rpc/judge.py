"""Judges a peer on each call.

The rules:

1. What is known of a peer is keyed by the bytes of its chain as this call's ``auth_context()``
   gives them; never by address, thread or task.
2. A chain is parsed once. Its standing (trust, time, revocation) is taken from the last full
   verification only while nothing has changed: the same trust, and a time within the answer's own.
3. Roles and grants are asked of the policy that is in force now.
4. Two things let a call through that no grant allows, and both stand behind all that is said
   above: a method that the server's maker calls public, and a policy that says ``audit``.
5. Whatever goes wrong is a refusal.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from pki.authz import Decision, Policy, Principal
from pki.authz.policy import role_names
from pki.clock import Clock
from pki.errors import InputError, VerificationError, shown
from pki.rpc.peer import Peer
from pki.rpc.public import NOTHING_PUBLIC, PublicMethods
from pki.rpc.refusal import (
    NO_CERTIFICATE,
    POLICY_UNAVAILABLE,
    Refusal,
    refusal_of_decision,
    refusal_of_fault,
)
from pki.x509 import WORKLOAD, ChainVerifier, Fault, Purpose, VerifiedChain, read_names
from pki.x509.readers import read_chain

_MOST_KNOWN = 4096
_REFUSED_FOR = timedelta(seconds=1)

AuthContext = Mapping[str, Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One answer: the peer if it may call, the refusal if not, and the facts for the log.

    ``audited`` is what would have refused a call that goes through because its policy is not
    enforced. ``leaf`` is what the peer showed, accepted or not.
    """

    method: str
    peer: Peer | None
    refusal: Refusal | None
    decision: Decision | None
    spiffe_id: str
    serial: str
    issuer: str
    good_until: datetime | None
    detail: str = ""
    audited: Refusal | None = None
    leaf: x509.Certificate | None = None


class _Known:
    """A chain seen before, and its standing under one trust."""

    __slots__ = (
        "chain",
        "claimed",
        "good_from",
        "good_until",
        "issuer",
        "principal",
        "refusal",
        "roles",
        "roles_by",
        "verified",
        "verifier",
        "why",
    )

    def __init__(self, chain: tuple[x509.Certificate, ...]) -> None:
        self.chain = chain
        self.issuer = chain[0].issuer.rfc4514_string()
        self.claimed = _claimed_id(chain[0])
        self.verifier: ChainVerifier | None = None
        self.verified: VerifiedChain | None = None
        self.refusal: Refusal | None = None
        self.why = ""
        self.good_from = self.good_until = datetime.max
        self.principal: Principal | None = None
        self.roles: tuple[str, ...] = ()
        self.roles_by: Policy | None = None


class Judge:
    """Judges the callers of one server.

    Args:
        verifier: gives the verifier of the trust in force.
        policy: gives the policy in force; None refuses everything.
        clock: gives the time.
        public: the methods that any peer may call whose certificate is accepted.
    """

    def __init__(
        self,
        verifier: Callable[[], ChainVerifier],
        policy: Callable[[], Policy | None],
        clock: Clock,
        public: PublicMethods = NOTHING_PUBLIC,
    ) -> None:
        self._verifier = verifier
        self._policy = policy
        self._clock = clock
        self._public = public
        self._known: OrderedDict[tuple[bytes, ...], _Known] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def policy(self) -> Policy | None:
        """The policy in force."""
        return self._policy()

    def judge(self, auth: AuthContext, method: str) -> Judgement:
        """Judge one call.

        Args:
            auth: the call's ``auth_context()``.
            method: its path, just as it came.
        """
        leaf = auth.get("x509_pem_cert")
        if not leaf:
            return _refused(method, NO_CERTIFICATE)
        key = (leaf[0], *auth.get("x509_pem_cert_chain", ()))
        try:
            known = self._look_up(key)
        except InputError as error:
            return _refused(method, refusal_of_fault(Fault.PROFILE), detail=str(error))
        return self.judge_known(known, method)

    def judge_known(self, known: _Known, method: str) -> Judgement:
        """Judge a call of a peer whose chain was read already."""
        now = self._clock()
        verifier = self._verifier()
        if known.verifier is not verifier or not known.good_from <= now < known.good_until:
            self._verify(known, verifier, now)
        if known.refusal is not None or known.principal is None:
            return self._judgement(known, method, known.refusal, None)
        policy = self._policy()
        if policy is None:
            return self._judgement(known, method, POLICY_UNAVAILABLE, None)
        if known.roles_by is not policy:
            known.roles = role_names(policy.roles_of(known.principal))
            known.roles_by = policy
        decision = policy.decide_for_roles(known.roles, method)
        if decision.allowed:
            return self._judgement(known, method, None, decision)
        if method in self._public.methods:
            return self._judgement(known, method, None, self._public.decision(decision.roles))
        who = str(known.principal.spiffe_id)
        refusal = refusal_of_decision(decision.reason, who=who, what=_printable(method))
        if decision.audited:
            return self._judgement(known, method, None, decision, audited=refusal)
        return self._judgement(known, method, refusal, decision)

    def _look_up(self, key: tuple[bytes, ...]) -> _Known:
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
        known = _Known(_read(key))
        with self._lock:
            self._known[key] = known
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return known

    @staticmethod
    def _verify(known: _Known, verifier: ChainVerifier, now: datetime) -> None:
        try:
            verified = verifier.verify(
                known.chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=now
            )
        except VerificationError as error:
            known.refusal = refusal_of_fault(error.fault, known.chain[0].serial_number)
            known.why = str(error)
            known.verified = known.principal = None
            # A refusal is looked at again soon, so that a mended list or clock is seen.
            known.good_from, known.good_until = now - _REFUSED_FOR, now + _REFUSED_FOR
        else:
            names = verified.names
            known.verified, known.refusal, known.why = verified, None, ""
            known.principal = Principal(names.spiffe_id, frozenset(names.dns_names), names.subject)
            known.roles_by = None
            known.good_from, known.good_until = verified.good_from, verified.good_until
        known.verifier = verifier

    @staticmethod
    def _judgement(
        known: _Known,
        method: str,
        refusal: Refusal | None,
        decision: Decision | None,
        audited: Refusal | None = None,
    ) -> Judgement:
        leaf = known.chain[0]
        verified = known.verified
        spiffe_id = verified.names.spiffe_id if verified else None
        peer = None
        if refusal is None and verified and spiffe_id and decision:
            peer = Peer(
                spiffe_id,
                verified.names,
                decision.roles,
                decision.scopes,
                leaf.serial_number,
                known.issuer,
                leaf.not_valid_after_utc,
            )
        return Judgement(
            method,
            peer,
            refusal,
            decision,
            known.claimed,
            f"{leaf.serial_number:x}",
            known.issuer,
            known.good_until if verified else None,
            known.why,
            audited,
            leaf,
        )


def _read(key: tuple[bytes, ...]) -> tuple[x509.Certificate, ...]:
    # The leaf is repeated at the head of the chain that gRPC gives.
    leaf = read_chain(key[0])
    if len(key) == 1:
        return leaf
    chain = read_chain(key[1])
    return chain if chain[0] == leaf[0] else (*leaf, *chain)


def _claimed_id(leaf: x509.Certificate) -> str:
    """Give the SPIFFE ID that a leaf holds, for the log of refusals; never to decide by."""
    try:
        return str(read_names(leaf).spiffe_id or "")
    except InputError:
        return ""


def _printable(method: str) -> str:
    return method if method.isascii() and method.isprintable() else shown(method)


def _refused(method: str, refusal: Refusal, detail: str = "") -> Judgement:
    return Judgement(method, None, refusal, None, "", "", "", None, detail)
