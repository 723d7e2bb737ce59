"""Judges a peer on each call.

The rules:

1. What is known of a peer is keyed by the bytes of its chain as this call's ``auth_context()``
   gives them; never by address, thread or task.
2. A chain is parsed once. Its standing (trust, time, revocation) is taken from the last full
   verification only while nothing has changed: the same trust, and a time within the answer's own.
3. Roles and grants are asked of the policy that is in force now. The answer to a call that is
   allowed is kept with the verification and the policy that gave it, and goes with either.
4. Two things let a call through that no grant allows, and both stand behind all that is said
   above: a method that the server's maker calls public, and a policy that says ``audit``.
5. Whatever goes wrong is a refusal.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pki.access.call_verdict import CallVerdict
from pki.access.peer import Peer
from pki.access.peer_cache import CachedDecisions, CachedPeer, CachedVerification
from pki.access.public_methods import NOTHING_PUBLIC, PublicMethods
from pki.access.refusal import (
    AUTHORIZATION_ERROR,
    NO_CERTIFICATE,
    POLICY_UNAVAILABLE,
    Refusal,
    client_refusal,
    decision_refusal,
)
from pki.authz import Decision, Policy
from pki.background import defer
from pki.clock import Clock
from pki.errors import InputError, quote_untrusted
from pki.x509 import ChainVerifier, Fault

_MOST_KNOWN = 16384
_MOST_BYTES = 64 * 1024 * 1024  # of the chains that peers chose to show
# Of a few callers each is kept for a while; of many, those that call again and again. A caller that
# renews leaves its old chain behind, and reading one again takes about a millisecond.
_FEW = 64
_IDLE_OF_FEW, _IDLE_OF_MANY = timedelta(minutes=10), timedelta(seconds=5)

_LONGEST_SAID = 256

log = logging.getLogger("handfast.rpc")

AuthContext = Mapping[str, Sequence[bytes]]
_LEAF, _CHAIN = "x509_pem_cert", "x509_pem_cert_chain"


@dataclass(frozen=True, slots=True)
class AuthorizationInputs:
    """What calls are judged by at one moment.

    Args:
        trust: stands for the verifier.
        policy: the policy; None refuses everything.
        at: the time.
    """

    trust: object
    policy: Policy | None
    at: datetime


class CallAuthorizer:
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
        self._known: OrderedDict[tuple[bytes, ...], CachedPeer] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def judge(self, auth: AuthContext, method: str) -> CallVerdict:
        """Judge one call.

        Args:
            auth: the call's ``auth_context()``.
            method: its path, just as it came.
        """
        try:
            now = self._clock()
            known = self._known_of(auth, now)
            if known is None:
                return _refused(method, NO_CERTIFICATE)
            return self._judge(known, method, now)
        except InputError as error:
            return _refused(method, client_refusal(Fault.PROFILE), detail=str(error))
        except Exception as error:
            # Rule 5. The caller is told nothing of it, and the log all.
            defer(log.error, "a call could not be judged: %r", error)
            return _refused(method, AUTHORIZATION_ERROR, detail=f"{type(error).__name__}: {error}")

    def judge_again(self, known: CachedPeer, method: str) -> CallVerdict:
        """Judge a running stream by what is in force now.

        Args:
            known: who runs it: :meth:`known_of` at its beginning.
            method: its path.
        """
        try:
            return self._judge(known, method, self._clock())
        except Exception as error:
            defer(log.error, "a stream could not be judged: %r", error)
            return _refused(method, AUTHORIZATION_ERROR, detail=f"{type(error).__name__}: {error}")

    def known_of(self, auth: AuthContext) -> CachedPeer:
        """Return what is known of a caller, to be kept for as long as a stream of it runs.

        All streams of a peer share it: how many they are is the peer's choice.

        Raises:
            InputError: if it showed no certificate that can be read.
        """
        known = self._known_of(auth, self._clock())
        if known is None:
            raise InputError("no client certificate was presented")
        return known

    @property
    def in_force(self) -> AuthorizationInputs:
        """What it judges by at this moment."""
        return AuthorizationInputs(self._verifier().mark, self._policy(), self._clock())

    def _known_of(self, auth: AuthContext, now: datetime) -> CachedPeer | None:
        leaf = auth.get(_LEAF)
        if not leaf:
            return None
        key = (leaf[0], *auth.get(_CHAIN, ()))
        known = self._known.get(key)
        if known is None or not known.moved <= now < known.moves_at:
            known = self._look_up(key, now)
        known.used = now
        return known

    def _judge(self, known: CachedPeer, method: str, now: datetime) -> CallVerdict:
        verdict = known.verdict_of(self._verifier(), now)
        if verdict.refusal is not None or verdict.principal is None:
            return _judgement(known, verdict, method, verdict.refusal, None)
        policy = self._policy()
        if policy is None:
            return _judgement(known, verdict, method, POLICY_UNAVAILABLE, None)
        answers = verdict.answers_of(policy)
        return answers.allowed.get(method) or self._decide(known, verdict, answers, method)

    def forget_idle(self) -> None:
        """Forget the peers that have not called for a while: they are read again if they do."""
        now = self._clock()
        with self._lock:
            for key, known in list(self._known.items()):
                most = _IDLE_OF_FEW if len(self._known) <= _FEW else _IDLE_OF_MANY
                if now - most < known.used <= now:
                    # The rest has been used since.
                    break
                del self._known[key]
                self._bytes -= _size(key)

    def _decide(
        self, known: CachedPeer, verdict: CachedVerification, answers: CachedDecisions, method: str
    ) -> CallVerdict:
        decision = answers.policy.decide_for_roles(answers.roles, method)
        if decision.allowed or method in self._public.methods:
            if not decision.allowed:
                decision = self._public.decision(decision.roles)
            judgement = _judgement(known, verdict, method, None, decision)
            answers.keep(judgement)
            return judgement
        refusal = decision_refusal(decision.reason, who=known.claimed, what=_printable(method))
        if decision.audited:
            return _judgement(known, verdict, method, None, decision, audited=refusal)
        return _judgement(known, verdict, method, refusal, decision)

    def _look_up(self, key: tuple[bytes, ...], now: datetime) -> CachedPeer:
        """Find or read a chain, and have it stand last among the known."""
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                known.note_moved(now)
                return known
        known = CachedPeer(key, now)
        with self._lock:
            if key not in self._known:
                self._bytes += _size(key)
            self._known[key] = known
            while len(self._known) > _MOST_KNOWN or self._bytes > _MOST_BYTES:
                gone, _ = self._known.popitem(last=False)
                self._bytes -= _size(gone)
        return known


def _judgement(
    known: CachedPeer,
    verdict: CachedVerification,
    method: str,
    refusal: Refusal | None,
    decision: Decision | None,
    *,
    audited: Refusal | None = None,
) -> CallVerdict:
    names = verdict.names
    spiffe_id = names.spiffe_id if names else None
    peer = None
    if refusal is None and names and spiffe_id and decision:
        peer = Peer(
            spiffe_id,
            names,
            decision.roles,
            decision.scopes,
            known.serial,
            known.issuer,
            known.not_after,
        )
    return CallVerdict(
        method,
        peer,
        refusal,
        decision,
        known.claimed,
        f"{known.serial:x}",
        known.issuer,
        verdict.why,
        audited,
    )


def _size(key: tuple[bytes, ...]) -> int:
    return sum(map(len, key))


def _printable(method: str) -> str:
    # It stands in the answer three times, and gRPC's callers take a few thousand bytes at most.
    cut = method if len(method) <= _LONGEST_SAID else f"{method[:_LONGEST_SAID]}..."
    return cut if cut.isascii() and cut.isprintable() else quote_untrusted(cut)


def _refused(method: str, refusal: Refusal, detail: str = "") -> CallVerdict:
    return CallVerdict(method, None, refusal, None, "", "", "", detail)
