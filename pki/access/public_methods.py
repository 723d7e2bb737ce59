"""Methods that every peer with a valid certificate may call, without a grant."""

from __future__ import annotations

from dataclasses import dataclass

from pki.authz import Decision, Reason


@dataclass(frozen=True, slots=True)
class PublicMethods:
    """Methods that need no grant.

    Args:
        methods: their paths.
        rule: the name under which the log shows them.
    """

    methods: frozenset[str]
    rule: str

    def decision(self, roles: tuple[str, ...]) -> Decision:
        """Return the decision for a caller with these roles."""
        return Decision(allowed=True, reason=Reason.ALLOWED, roles=roles, rule=self.rule)


NO_PUBLIC_METHODS = PublicMethods(frozenset(), "")
