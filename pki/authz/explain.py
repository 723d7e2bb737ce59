"""Says step by step why a principal may or may not call a method."""

from __future__ import annotations

from dataclasses import dataclass

from pki.authz.decision import Decision, RoleMatch
from pki.authz.policy import Grant, Policy
from pki.authz.principal import Principal


@dataclass(frozen=True, slots=True)
class Explanation:
    """The steps of a decision.

    ``grants`` are all grants of the principal's roles; ``others`` are grants of the method to roles
    that it does not have.
    """

    method: str
    decision: Decision
    matches: tuple[RoleMatch, ...]
    grants: tuple[Grant, ...]
    others: tuple[Grant, ...]
    source: str

    def lines(self) -> list[str]:
        """Give the steps as lines for a person."""
        said = [
            f"{match.pattern} gives the role {match.role} ({self.source}:{match.line})"
            for match in self.matches
        ] or ["no name of this peer is listed under any role"]
        if self.matches and not self.decision.allowed:
            said += [
                f"{grant.role} may call {_methods(grant)} ({self.source}:{grant.line})"
                for grant in self.grants
            ] or ["no grant names any of these roles"]
            said += [
                f"{self.method} is granted to {grant.role} ({self.source}:{grant.line})"
                for grant in self.others
            ]
        if self.decision.allowed:
            said.append(f"{self.decision.rule} lets {self.decision.role} call {self.method}")
        verdict = "allowed" if self.decision.allowed else "refused"
        return [*said, f"{verdict}: {self.decision.reason.value}"]

    def to_json(self) -> dict[str, object]:
        """Give the same for a script."""
        return {
            "method": self.method,
            "allowed": self.decision.allowed,
            "reason": self.decision.reason.value,
            "roles": list(self.decision.roles),
            "rule": self.decision.rule,
            "scopes": sorted(self.decision.scopes),
            "matches": [
                {"role": match.role, "pattern": match.pattern, "line": match.line}
                for match in self.matches
            ],
        }


def explain(policy: Policy, principal: Principal, method: str) -> Explanation:
    """Explain a decision."""
    matches = policy.roles_of(principal)
    decision = policy.decide(principal, method)
    grants = policy.rules.grants
    others = tuple(
        grant for grant in grants if grant.role not in decision.roles and _grants(grant, method)
    )
    own = tuple(grant for grant in grants if grant.role in decision.roles)
    return Explanation(method, decision, matches, own, others, policy.source)


def _grants(grant: Grant, method: str) -> bool:
    return any(
        method == f"/{item.service}/{item.method}"
        or (item.method is None and method.startswith(f"/{item.service}/"))
        for item in grant.methods
    )


def _methods(grant: Grant) -> str:
    return ", ".join(f"/{item.service}/{item.method or '*'}" for item in grant.methods)
