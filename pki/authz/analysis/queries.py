"""Two questions on a whole policy: who can call a method, and what can a principal call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pki.authz.decision import RoleMatch
from pki.authz.patterns import MethodPattern, written_method
from pki.authz.policy import Grant, Policy, RoleRule, ServedBy
from pki.authz.principal import Principal


@dataclass(frozen=True, slots=True)
class Able:
    """A role that can call a method.

    Args:
        role: its name.
        names: what maps to it, as written; a name with a wildcard stands for any number.
        grants: those that let it.
        scopes: what they name together.
    """

    role: str
    names: tuple[RoleRule, ...]
    grants: tuple[Grant, ...]
    scopes: frozenset[str]


def who_can(policy: Policy, method: str) -> tuple[Able, ...]:
    """Return the roles that can call a method, sorted by name.

    Args:
        policy: the policy.
        method: its path, just as a call gives it.
    """
    able = []
    for role in policy.roles_of_method(method):
        grants = tuple(
            grant
            for grant in policy.rules.grants
            if grant.role == role and any(covers(item, method) for item in grant.methods)
        )
        names = tuple(rule for rule in policy.rules.roles if rule.role == role)
        scopes = frozenset().union(*(grant.scopes for grant in grants))
        able.append(Able(role, names, grants, scopes))
    return tuple(able)


@dataclass(frozen=True, slots=True)
class Ability:
    """What a principal can do.

    Args:
        matches: its roles, and what gave them.
        grants: all grants of its roles.
        serves: the services that it may answer.
    """

    matches: tuple[RoleMatch, ...]
    grants: tuple[Grant, ...]
    serves: tuple[ServedBy, ...]

    @property
    def is_nothing(self) -> bool:
        """Whether it can call nothing and answer nothing."""
        return not self.grants and not self.serves


def what_can(policy: Policy, principal: Principal) -> Ability:
    """Return all that a principal can call and answer."""
    matches = policy.roles_of(principal)
    roles = {match.role for match in matches}
    return Ability(
        matches,
        tuple(grant for grant in policy.rules.grants if grant.role in roles),
        tuple(item for item in policy.rules.served_by if item.role in roles),
    )


def covers(pattern: MethodPattern, method: str) -> bool:
    """Return whether a grant's method covers a path that the policy grants to somebody."""
    if pattern.method is None:
        return method[1:].partition("/")[0] == pattern.service
    return written_method(pattern) == method


def written(methods: Iterable[MethodPattern]) -> list[str]:
    """Write methods as a policy file does."""
    return [written_method(item) for item in methods]
