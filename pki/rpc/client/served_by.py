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
        self._refusals: dict[str, Refusal | None] = {}
        self._refusals_by: Policy | None = None

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
        if self._refusals_by is not policy:
            self._refusals, self._refusals_by = {}, policy
        text = method.decode() if isinstance(method, bytes) else method
        if text not in self._refusals:
            service = text[1:].partition("/")[0] if text.startswith("/") else ""
            decision = policy.decide_served_by(self._principal, service)
            refusal = None
            if not decision.allowed:
                refusal = decision_refusal(
                    decision.reason, who=str(self._principal.spiffe_id), what=service
                )
                # Once for each policy: the caller reads it each time.
                log.warning("calls of %s are refused: %s", quote_untrusted(text), refusal.message)
            self._refusals[text] = refusal
        return self._refusals[text]
