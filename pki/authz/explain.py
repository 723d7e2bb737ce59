"""Explain step by step why a principal may or may not call a method."""

from __future__ import annotations

from dataclasses import dataclass

from pki.authz.decision import Decision, Reason, RoleMatch
from pki.authz.patterns import MethodPattern, format_method
from pki.authz.policy import Grant, Policy
from pki.authz.principal import Principal
from pki.authz.suggestions import suggest_methods, suggest_names
from pki.errors import quote_untrusted
from pki.identity import TrustDomain


@dataclass(frozen=True, slots=True)
class NameTried:
    """A name of the principal, written as in a policy.

    ``is_used`` is False if the policy ignores the name: a DNS name or subject of a principal that
    is not in the policy's own trust domain.
    """

    text: str
    is_used: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """The steps of a decision.

    Args:
        method: the path that was called.
        decision: the policy's decision.
        names: all names of the principal.
        matches: which rules gave it which roles.
        grants: all grants of its roles.
        others: the grants of this method to roles that the principal does not have.
        source: the policy's file name.
        suggestions: messages on names and methods in the policy that are almost these.
    """

    method: str
    decision: Decision
    names: tuple[NameTried, ...]
    matches: tuple[RoleMatch, ...]
    grants: tuple[Grant, ...]
    others: tuple[Grant, ...]
    source: str
    suggestions: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the steps as lines for a person."""
        lines = [
            f"{match.pattern} gives the role {match.role} ({self.source}:{match.line})"
            for match in self.matches
        ]
        if not lines:
            lines = ["no name of this peer is listed under any role"]
            lines += [_no_match(name) for name in self.names]
        if not self.decision.allowed:
            lines += [*self._near_misses(), *self.suggestions]
        else:
            lines.append(
                f"{self.decision.rule} lets {self.decision.role} call {_printable(self.method)}"
            )
        if self.decision.audited:
            lines.append(
                f'this is not enforced: enforce = "audit" ({self.source}:{self.decision.line})'
            )
        verdict = "allowed" if self.decision.allowed else "refused"
        if self.decision.audited:
            verdict = "goes through, and is logged as one that would be refused"
        return [*lines, f"{verdict}: {self.decision.reason.value}"]

    def _near_misses(self) -> list[str]:
        lines = [
            f"{grant.role} may call {', '.join(_method_texts(grant))} ({self.source}:{grant.line})"
            for grant in self.grants
        ]
        if not lines and self.decision.reason is not Reason.NO_ROLE:
            lines = ["no grant names any of these roles"]
        return lines + [
            f"{_printable(self.method)} is granted to {grant.role} ({self.source}:{grant.line})"
            for grant in self.others
        ]

    def to_json(self) -> dict[str, object]:
        """Return the explanation as JSON, for scripts."""
        return {
            "method": self.method,
            "allowed": self.decision.allowed,
            "reason": self.decision.reason.value,
            "audited": self.decision.audited,
            "roles": list(self.decision.roles),
            "role": self.decision.role,
            "rule": self.decision.rule,
            "line": self.decision.line,
            "scopes": sorted(self.decision.scopes),
            "names": [{"name": name.text, "is_used": name.is_used} for name in self.names],
            "matches": [
                {"role": match.role, "pattern": match.pattern, "line": match.line}
                for match in self.matches
            ],
            "grants": [_grant_json(grant) for grant in self.grants],
            "others": [_grant_json(grant) for grant in self.others],
            "suggestions": list(self.suggestions),
        }


def explain(policy: Policy, principal: Principal, method: str) -> Explanation:
    """Explain a policy's decision on a call.

    Args:
        policy: the policy.
        principal: the caller.
        method: the path exactly as in the call.
    """
    decision = policy.decide(principal, method)
    other_roles = set(policy.roles_of_method(method)) - set(decision.roles)
    grants = policy.rules.grants
    return Explanation(
        method,
        decision,
        _names_of(principal, policy.trust_domain),
        policy.roles_of(principal),
        tuple(grant for grant in grants if grant.role in decision.roles),
        tuple(grant for grant in grants if grant.role in other_roles and _grants(grant, method)),
        policy.source,
        tuple(_suggestions(policy, principal, method, decision)),
    )


def _suggestions(
    policy: Policy, principal: Principal, method: str, decision: Decision
) -> list[str]:
    if decision.allowed:
        return []
    names = suggest_names(policy, principal) if decision.reason is Reason.NO_ROLE else []
    return [*names, *suggest_methods(policy, method)]


def _names_of(principal: Principal, own: TrustDomain) -> tuple[NameTried, ...]:
    spiffe_id = principal.spiffe_id
    is_used = spiffe_id is not None and spiffe_id.trust_domain == own
    names = [NameTried(str(spiffe_id), is_used=True)] if spiffe_id is not None else []
    names += [NameTried(f"dns:{name}", is_used) for name in sorted(principal.dns_names)]
    if principal.subject is not None and principal.subject.rdns:
        names.append(NameTried(f"subject:{principal.subject}", is_used))
    return tuple(names)


def _no_match(name: NameTried) -> str:
    if name.is_used:
        return f"tried {name.text}"
    return f"not tried: {name.text}, because the peer is not of the policy's trust domain"


def _printable(method: str) -> str:
    return method if method.isascii() and method.isprintable() else quote_untrusted(method)


def _grants(grant: Grant, method: str) -> bool:
    """Return whether a grant covers a method."""
    service = MethodPattern(method[1:].partition("/")[0], None)
    return service in grant.methods or method in _method_texts(grant)


def _method_texts(grant: Grant) -> list[str]:
    return [format_method(item) for item in grant.methods]


def _grant_json(grant: Grant) -> dict[str, object]:
    return {
        "role": grant.role,
        "methods": _method_texts(grant),
        "scopes": sorted(grant.scopes),
        "line": grant.line,
    }
