"""Authorizes each call of a peer.

The rules:

1. A peer is identified by the bytes of its chain as this call's ``auth_context()`` returns them;
   never by address, thread or task.
2. A chain is parsed once. The result of its last verification (trust, time, revocation) is used
   again only while nothing has changed: the same trust, and a time within the result's validity.
3. Roles and grants come from the policy that is in force now. The verdict on an allowed call is
   cached with the verification and the policy that it rests on, and is dropped with either.
4. Two things let a call through that no grant allows: a method that the server's owner made public,
   and a policy that says ``audit``. Both apply only to a peer whose chain was verified.
5. Any error is a refusal.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pki.access.call_verdict import CallVerdict
from pki.access.peer import Peer
from pki.access.peer_cache import CachedDecisions, CachedPeer, CachedVerification
from pki.access.public_methods import NO_PUBLIC_METHODS, PublicMethods
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

_MOST_PEERS = 16384
_MOST_BYTES = 64 * 1024 * 1024  # of the cached chains: peers choose how long theirs are
# While few callers are cached, each is kept for long. While many are, only those that call often
# are kept: a renewed caller leaves its old chain behind, and parsing a chain again takes about a
# millisecond.
_FEW_PEERS = 64
_IDLE_OF_FEW, _IDLE_OF_MANY = timedelta(minutes=10), timedelta(seconds=5)

_LONGEST_QUOTED_METHOD = 256

log = logging.getLogger("handfast.access")

AuthContext = Mapping[str, Sequence[bytes]]
# The names of gRPC.
LEAF, CHAIN = "x509_pem_cert", "x509_pem_cert_chain"


@dataclass(frozen=True, slots=True)
class AuthorizationInputs:
    """What calls are authorized by at one moment.

    Args:
        trust: another object after each change of trust bundle or revocation lists.
        policy: the policy; None refuses everything.
        at: the time.
    """

    trust: object
    policy: Policy | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Basis:
    """What an allowed call rests on: as long as all of it holds, the same call is allowed again.

    Args:
        trust: as in :class:`AuthorizationInputs`.
        policy: the policy.
        valid_from: the verdict holds from this time on.
        valid_until: and before this one.
    """

    trust: object
    policy: Policy
    valid_from: datetime
    valid_until: datetime


class CallAuthorizer:
    """Authorizes the callers of one server.

    Args:
        verifier: returns the verifier of the trust in force.
        policy: returns the policy in force; None refuses everything.
        clock: returns the time.
        public: the methods that need no grant.
    """

    def __init__(
        self,
        verifier: Callable[[], ChainVerifier],
        policy: Callable[[], Policy | None],
        clock: Clock,
        public: PublicMethods = NO_PUBLIC_METHODS,
    ) -> None:
        self._verifier = verifier
        self._policy = policy
        self._clock = clock
        self._public = public
        # Least recently used first; an entry moves at most once a second.
        self._peers: OrderedDict[tuple[bytes, ...], CachedPeer] = OrderedDict()
        # Also those that were idle and whose streams run: each costs no memory but that of its key.
        self._held: weakref.WeakValueDictionary[tuple[bytes, ...], CachedPeer] = (
            weakref.WeakValueDictionary()
        )
        self._bytes = 0
        self._lock = threading.Lock()

    def authorize(self, auth: AuthContext, method: str) -> CallVerdict:
        """Return the verdict on one call.

        Args:
            auth: the call's ``auth_context()``.
            method: its path, just as it came.
        """
        return self.authorize_on_basis(auth, method)[0]

    def authorize_on_basis(
        self, auth: AuthContext, method: str
    ) -> tuple[CallVerdict, Basis | None]:
        """Return the verdict on one call, and what it rests on.

        There is no basis for a refusal, nor for a call that is allowed only because the policy is
        not enforced.
        """
        try:
            now = self._clock()
            peer = self._peer_of(auth, now)
            if peer is None:
                return _refused(method, NO_CERTIFICATE), None
            return self._authorize(peer, method, now)
        except InputError as error:
            return _refused(method, client_refusal(Fault.PROFILE), detail=str(error)), None
        except Exception as error:
            # Rule 5. The log has the details; the caller does not learn them.
            defer(log.error, "a call could not be authorized: %r", error)
            detail = f"{type(error).__name__}: {error}"
            return _refused(method, AUTHORIZATION_ERROR, detail=detail), None

    def reauthorize(self, peer: CachedPeer, method: str) -> CallVerdict:
        """Return the verdict on a running stream by what is in force now.

        Args:
            peer: the stream's peer: :meth:`cached_peer` at its beginning.
            method: the path of the method.
        """
        try:
            return self._authorize(peer, method, self._clock())[0]
        except Exception as error:
            defer(log.error, "a stream could not be authorized: %r", error)
            return _refused(method, AUTHORIZATION_ERROR, detail=f"{type(error).__name__}: {error}")

    def cached_peer(self, auth: AuthContext) -> CachedPeer:
        """Return the cache entry of a caller, to be held for as long as a stream of it runs.

        All streams of a peer share one entry: how many streams it opens is the peer's choice.

        Raises:
            InputError: if the caller presented no certificate that can be parsed.
        """
        peer = self._peer_of(auth, self._clock())
        if peer is None:
            raise InputError("no client certificate was presented")
        return peer

    @property
    def inputs(self) -> AuthorizationInputs:
        """What calls are authorized by at this moment."""
        return AuthorizationInputs(self._verifier().token, self._policy(), self._clock())

    def evict_idle(self) -> None:
        """Drop the peers that have not called for a while.

        When one of them calls again, its chain is parsed again, unless a stream of it runs.
        """
        now = self._clock()
        with self._lock:
            for key, peer in list(self._peers.items()):
                longest = _IDLE_OF_FEW if len(self._peers) <= _FEW_PEERS else _IDLE_OF_MANY
                if now - longest < peer.last_used <= now:
                    # All others were used later.
                    break
                del self._peers[key]
                self._bytes -= _size(key)

    def _peer_of(self, auth: AuthContext, now: datetime) -> CachedPeer | None:
        leaf = auth.get(LEAF)
        if not leaf:
            return None
        key = (leaf[0], *auth.get(CHAIN, ()))
        peer = self._peers.get(key)
        if peer is None or not peer.last_moved <= now < peer.next_move:
            peer = self._cache(key, now)
        peer.last_used = now
        return peer

    def _authorize(
        self, peer: CachedPeer, method: str, now: datetime
    ) -> tuple[CallVerdict, Basis | None]:
        verification = peer.verify(self._verifier(), now)
        if verification.refusal is not None or verification.principal is None:
            return _verdict(peer, verification, method, verification.refusal, None), None
        policy = self._policy()
        if policy is None:
            return _verdict(peer, verification, method, POLICY_UNAVAILABLE, None), None
        decisions = verification.decisions_by(policy)
        verdict = decisions.allowed.get(method)
        if verdict is None:
            verdict = self._decide(peer, verification, decisions, method)
            if verdict.refusal is not None or verdict.audited is not None:
                return verdict, None
        return verdict, Basis(
            verification.trust, policy, verification.valid_from, verification.valid_until
        )

    def _decide(
        self,
        peer: CachedPeer,
        verification: CachedVerification,
        decisions: CachedDecisions,
        method: str,
    ) -> CallVerdict:
        decision = decisions.policy.decide_for_roles(decisions.roles, method)
        if decision.allowed or method in self._public.methods:
            if not decision.allowed:
                decision = self._public.decision(decision.roles)
            verdict = _verdict(peer, verification, method, None, decision)
            decisions.add(verdict)
            return verdict
        refusal = decision_refusal(decision.reason, who=peer.claimed_id, what=_printable(method))
        if decision.audited:
            return _verdict(peer, verification, method, None, decision, audited=refusal)
        return _verdict(peer, verification, method, refusal, decision)

    def _cache(self, key: tuple[bytes, ...], now: datetime) -> CachedPeer:
        """Return the entry of a chain, parsed if it is new, and move it to the end of the cache."""
        with self._lock:
            peer = self._peers.get(key)
            if peer is not None:
                self._peers.move_to_end(key)
                peer.note_moved(now)
                return peer
            peer = self._held.get(key)
        if peer is None:
            peer = CachedPeer(key, now)
        else:
            peer.note_moved(now)
        with self._lock:
            if key not in self._peers:
                self._bytes += _size(key)
            self._peers[key] = self._held[key] = peer
            while len(self._peers) > _MOST_PEERS or self._bytes > _MOST_BYTES:
                evicted, _ = self._peers.popitem(last=False)
                self._bytes -= _size(evicted)
        return peer


def _verdict(
    cached: CachedPeer,
    verification: CachedVerification,
    method: str,
    refusal: Refusal | None,
    decision: Decision | None,
    *,
    audited: Refusal | None = None,
) -> CallVerdict:
    names = verification.names
    spiffe_id = names.spiffe_id if names else None
    peer = None
    if refusal is None and names and spiffe_id and decision:
        peer = Peer(
            spiffe_id,
            names,
            decision.roles,
            decision.scopes,
            cached.serial,
            cached.issuer,
            cached.not_after,
        )
    return CallVerdict(
        method,
        peer,
        refusal,
        decision,
        cached.claimed_id,
        f"{cached.serial:x}",
        cached.issuer,
        verification.detail,
        audited,
    )


def _size(key: tuple[bytes, ...]) -> int:
    return sum(map(len, key))


def _printable(method: str) -> str:
    # The status holds the method three times, and gRPC's callers accept a few thousand bytes.
    is_short = len(method) <= _LONGEST_QUOTED_METHOD
    cut = method if is_short else f"{method[:_LONGEST_QUOTED_METHOD]}..."
    return cut if cut.isascii() and cut.isprintable() else quote_untrusted(cut)


def _refused(method: str, refusal: Refusal, detail: str = "") -> CallVerdict:
    return CallVerdict(method, None, refusal, None, "", "", "", detail)
