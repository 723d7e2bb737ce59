"""Asks the policy whether a channel's server may answer a method, before anything is sent."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pki.access.refusal import OWN_POLICY_UNAVAILABLE, Refusal, decision_refusal
from pki.authz import Policy
from pki.credentials.fork_guard import ForkGuard
from pki.errors import quote_untrusted
from pki.rpc.client.pin import Pin

log = logging.getLogger("handfast.rpc")


class ServedByCheck:
    """The ``served_by`` rules of the policy, for one server.

    Args:
        pin: the server.
        policy: returns the policy in force; None where the channel has no policy at all.
    """

    def __init__(self, pin: Pin, policy: Callable[[], Policy | None] | None) -> None:
        self._principal = pin.principal()
        self._policy = policy
        self._fork_guard = ForkGuard("channel")
        # The policy and what it decided, replaced together: a call that still goes by an older
        # policy leaves nothing behind for the next one.
        self._decided: tuple[Policy | None, dict[str | bytes, Refusal | None]] = (None, {})

    def refusal(self, method: str | bytes) -> Refusal | None:
        """Return the refusal of a method; None if it may be called.

        Raises:
            StateError: after a fork, in the child: a call would hang there.
        """
        self._fork_guard.check()
        if self._policy is None:
            return None
        policy = self._policy()
        if policy is None:
            return OWN_POLICY_UNAVAILABLE
        decided_by, refusals = self._decided
        if decided_by is not policy:
            refusals = {}
            self._decided = (policy, refusals)
        try:
            return refusals[method]
        except KeyError:
            refusal = refusals[method] = self._decide(policy, method)
            return refusal

    def _decide(self, policy: Policy, method: str | bytes) -> Refusal | None:
        text = method.decode() if isinstance(method, bytes) else method
        service = text[1:].partition("/")[0] if text.startswith("/") else ""
        decision = policy.decide_served_by(self._principal, service)
        if decision.allowed:
            return None
        refusal = decision_refusal(
            decision.reason, who=str(self._principal.spiffe_id), what=service
        )
        # Once for each policy: the caller reads it each time.
        log.warning("calls of %s are refused: %s", quote_untrusted(text), refusal.message)
        return refusal
