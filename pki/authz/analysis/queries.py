"""Two queries on a whole policy: who can call a method, and what a principal can call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pki.authz.decision import RoleMatch
from pki.authz.patterns import MethodPattern, format_method
from pki.authz.policy import Grant, Policy, RoleRule, ServedBy
from pki.authz.principal import Principal


@dataclass(frozen=True, slots=True)
class RoleAccess:
    """A role that can call a method.

    Args:
        role: its name.
        names: the name patterns that give the role.
        grants: the grants of the method.
        scopes: of all these grants.
    """

    role: str
    names: tuple[RoleRule, ...]
    grants: tuple[Grant, ...]
    scopes: frozenset[str]


def who_can(policy: Policy, method: str) -> tuple[RoleAccess, ...]:
    """Return the roles that can call a method, sorted by name.

    Args:
        policy: the policy.
        method: the path exactly as in a call.
    """
    accesses = []
    for role in policy.roles_of_method(method):
        grants = tuple(
            grant
            for grant in policy.rules.grants
            if grant.role == role and any(covers(item, method) for item in grant.methods)
        )
        names = tuple(rule for rule in policy.rules.roles if rule.role == role)
        scopes = frozenset().union(*(grant.scopes for grant in grants))
        accesses.append(RoleAccess(role, names, grants, scopes))
    return tuple(accesses)


@dataclass(frozen=True, slots=True)
class PrincipalAccess:
    """What a principal can call and serve.

    Args:
        matches: its roles, with the patterns that gave them.
        grants: all grants of its roles.
        serves: the services that it may serve.
    """

    matches: tuple[RoleMatch, ...]
    grants: tuple[Grant, ...]
    serves: tuple[ServedBy, ...]

    @property
    def is_empty(self) -> bool:
        """Whether it can call nothing and serve nothing."""
        return not self.grants and not self.serves


def what_can(policy: Policy, principal: Principal) -> PrincipalAccess:
    """Return all that a principal can call and serve."""
    matches = policy.roles_of(principal)
    roles = {match.role for match in matches}
    return PrincipalAccess(
        matches,
        tuple(grant for grant in policy.rules.grants if grant.role in roles),
        tuple(item for item in policy.rules.served_by if item.role in roles),
    )


def covers(pattern: MethodPattern, method: str) -> bool:
    """Return whether a method pattern matches the path of a method."""
    if pattern.method is None:
        return method[1:].partition("/")[0] == pattern.service
    return format_method(pattern) == method


def format_methods(methods: Iterable[MethodPattern]) -> list[str]:
    """Return methods as they are written in a policy file."""
    return [format_method(item) for item in methods]
