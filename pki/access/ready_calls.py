"""Answers to calls that were allowed a moment ago, ready to be given again.

Most calls are like the one before: the same caller, the same method, nothing has changed. Such a
call costs one lookup. The rules:

1. An answer is given again only while the trust and the policy that it rests on are in force, each
   compared by identity, and the time is within its validity.
2. It is given to the bytes of one chain, all of them compared.
3. It lives until the next recheck, a fraction of a second: then the next call is authorized from
   the beginning. So nothing here needs a limit, or an eviction of its own.
4. Refusals, and calls that are allowed only because a policy is not enforced, are never kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pki.access.authorizer import CHAIN, LEAF, AuthContext, CallAuthorizer
from pki.access.call_verdict import CallVerdict
from pki.access.counters import Counters, Tally
from pki.authz import Policy
from pki.credentials.snapshot import Snapshot


class TrustInForce(Protocol):
    """Holds the snapshot in force; each change replaces it by another object."""

    @property
    def snapshot(self) -> Snapshot:
        """What is in force now."""


class PolicyInForce(Protocol):
    """Holds the policy in force; each change replaces it by another object."""

    @property
    def in_force(self) -> Policy | None:
        """The policy; None refuses everything."""


@dataclass(frozen=True, slots=True)
class _ReadyCall:
    verdict: CallVerdict
    chain: object
    snapshot: Snapshot
    policy: Policy
    begin: float
    end: float
    tally: Tally


class ReadyCalls:
    """The callers that may call one method.

    Args:
        method: its path.
        authorizer: authorizes what is not ready.
        trust: what the snapshot in force is read from.
        policy: what the policy in force is read from.
        seconds: returns the time, as seconds since 1970.
        counters: counts the calls.
    """

    def __init__(
        self,
        method: str,
        authorizer: CallAuthorizer,
        *,
        trust: TrustInForce,
        policy: PolicyInForce,
        seconds: Callable[[], float],
        counters: Counters,
    ) -> None:
        self._method = method
        self._authorizer = authorizer
        self._trust = trust
        self._policy = policy
        self._seconds = seconds
        self._counters = counters
        self._ready: dict[bytes, _ReadyCall] = {}

    def get(self, auth: AuthContext) -> CallVerdict | None:
        """Return the answer to a call, counted, if it is ready; None if it must be authorized."""
        try:
            ready = self._ready[auth[LEAF][0]]
            if (
                self._policy.in_force is ready.policy
                and self._trust.snapshot is ready.snapshot
                and auth[CHAIN] == ready.chain
                and ready.begin <= self._seconds() < ready.end
            ):
                ready.tally.add()
                return ready.verdict
        except Exception:  # noqa: S110 - whatever it is: the authorizer decides, and tells it
            pass
        return None

    def authorize(self, auth: AuthContext) -> CallVerdict:
        """Return the verdict on a call that is not ready, not counted; keep it if it allows."""
        # Read first: if it changes in between, what is kept is for trust that is past.
        snapshot = self._trust.snapshot
        verdict, basis = self._authorizer.authorize_on_basis(auth, self._method)
        if basis is not None and basis.trust is snapshot.verifier.token and verdict.decision:
            self._ready[auth[LEAF][0]] = _ReadyCall(
                verdict,
                auth.get(CHAIN),
                snapshot,
                basis.policy,
                basis.valid_from.timestamp(),
                basis.valid_until.timestamp(),
                self._counters.tally_of(self._method, verdict.decision.role),
            )
        return verdict

    def forget(self) -> None:
        """Have nothing ready any more."""
        self._ready = {}
