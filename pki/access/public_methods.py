"""The methods of a server that need no grant: its health, if its maker says so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pki.authz import Decision, Reason

_HEALTH = "/grpc.health.v1.Health/"


class HealthAccess(StrEnum):
    """Who may ask for a server's health."""

    GRANTED = "granted"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class PublicMethods:
    """Methods that any peer may call whose certificate is accepted.

    Args:
        methods: their paths.
        rule: what the log names as the rule that allows them.
    """

    methods: frozenset[str]
    rule: str

    def decision(self, roles: tuple[str, ...]) -> Decision:
        """Return the answer for a caller with these roles."""
        return Decision(allowed=True, reason=Reason.ALLOWED, roles=roles, rule=self.rule)


NOTHING_PUBLIC = PublicMethods(frozenset(), "")
_PUBLIC_HEALTH = PublicMethods(
    frozenset(_HEALTH + name for name in ("Check", "Watch", "List")), "health = public"
)


def public_methods(health: HealthAccess) -> PublicMethods:
    """Return what is public."""
    return _PUBLIC_HEALTH if health is HealthAccess.PUBLIC else NOTHING_PUBLIC
