"""The policy: it maps names to roles, and roles to methods and services. The default is deny.

It is compiled once into tables, so that a decision takes the same time with ten grants and with ten
thousand:

- Exact names (SPIFFE IDs, DNS names, DNS wildcards, subjects) are in one table by value.
- SPIFFE patterns with wildcards are grouped by trust domain, number of segments and positions of
  the wildcards. Each group has a table by the other segments.
- Grants are in tables by method path or service, and there by role. Several grants of one role are
  merged beforehand.

A method is looked up exactly as in the call; what is in no table is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from pki.authz.decision import Decision, Reason, RoleMatch
from pki.authz.enforcement import Enforcement, EnforcementRule, EnforceSetting
from pki.authz.patterns import (
    MethodPattern,
    NamePattern,
    SpiffePattern,
    lookup_keys,
)
from pki.authz.principal import Principal
from pki.identity import SpiffeId, TrustDomain


@dataclass(frozen=True, slots=True)
class RoleRule:
    """A name pattern that gives a role."""

    role: str
    pattern: NamePattern
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Methods that a role may call."""

    role: str
    methods: tuple[MethodPattern, ...]
    scopes: frozenset[str]
    line: int


@dataclass(frozen=True, slots=True)
class ServedBy:
    """The role that a server of a service must have."""

    service: str
    role: str
    line: int


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """The parsed rules of a policy file."""

    trust_domain: TrustDomain
    roles: tuple[RoleRule, ...]
    grants: tuple[Grant, ...]
    served_by: tuple[ServedBy, ...]
    policy_grace: timedelta
    revocation_grace: timedelta
    enforce: EnforceSetting
    enforcement: tuple[EnforcementRule, ...]


@dataclass(frozen=True, slots=True)
class _RoleGrant:
    """One role's merged grants of one method or service: the first grant, and all scopes."""

    grant: Grant
    scopes: frozenset[str]


_Shape = tuple[TrustDomain, int, tuple[int, ...]]
_ByRole = dict[str, _RoleGrant]


class Policy:
    """A compiled policy. Immutable; safe for use by several threads.

    Args:
        rules: the parsed rules.
        source: the file's name, for messages.
        data: the file's bytes, for the digest.
    """

    __slots__ = (
        "_by_method",
        "_by_service",
        "_digest",
        "_enforcement",
        "_exact",
        "_rules",
        "_served_by",
        "_shapes",
        "_source",
        "_wild",
    )

    def __init__(self, rules: PolicyRules, *, source: str, data: bytes) -> None:
        self._rules = rules
        self._source = source
        self._digest = hashlib.sha256(data).hexdigest()
        exact: dict[object, list[RoleMatch]] = {}
        wild: dict[_Shape, dict[tuple[str | None, ...], list[RoleMatch]]] = {}
        for rule in rules.roles:
            match = RoleMatch(rule.role, rule.text, rule.line)
            pattern = rule.pattern
            if isinstance(pattern, SpiffePattern):
                if pattern.exact is not None:
                    exact.setdefault(pattern.exact, []).append(match)
                else:
                    by_segments = wild.setdefault(_shape(pattern), {})
                    by_segments.setdefault(pattern.segments, []).append(match)
            else:
                exact.setdefault(pattern, []).append(match)
        self._exact = exact
        self._wild = wild
        self._shapes = _shapes_by_length(wild)
        self._by_method, self._by_service = _grant_tables(rules.grants)
        self._served_by = {item.service: item for item in rules.served_by}
        self._enforcement = Enforcement(rules.enforce, rules.enforcement)

    @property
    def rules(self) -> PolicyRules:
        """The parsed rules."""
        return self._rules

    @property
    def source(self) -> str:
        """The file's name."""
        return self._source

    @property
    def digest(self) -> str:
        """The SHA-256 of the file's bytes, in hex."""
        return self._digest

    @property
    def trust_domain(self) -> TrustDomain:
        """The policy's own trust domain."""
        return self.rules.trust_domain

    @property
    def policy_grace(self) -> timedelta:
        """How long the policy stays in force after its file was removed."""
        return self.rules.policy_grace

    @property
    def revocation_grace(self) -> timedelta:
        """How long a CRL is accepted after its ``nextUpdate``."""
        return self.rules.revocation_grace

    @property
    def enforcement(self) -> Enforcement:
        """Which refusals are enforced, and which are only logged."""
        return self._enforcement

    def roles_of(self, principal: Principal) -> tuple[RoleMatch, ...]:
        """Return every role of a principal, with the pattern that gave it."""
        matches: set[RoleMatch] = set()
        for key in lookup_keys(principal, self.trust_domain):
            matches.update(self._exact.get(key, ()))
        if principal.spiffe_id is not None:
            matches.update(self._wild_matches(principal.spiffe_id))
        return tuple(sorted(matches))

    def decide(self, principal: Principal, method: str) -> Decision:
        """Decide for a server whether this caller may call this method.

        Args:
            principal: the caller.
            method: the path exactly as in the call, e.g. ``/shop.v1.Orders/PlaceOrder``.
        """
        return self.decide_for_roles(role_names(self.roles_of(principal)), method)

    def decide_for_roles(self, roles: tuple[str, ...], method: str) -> Decision:
        """Decide for a caller by its roles, which are sorted."""
        if not roles:
            return self._refuse(Reason.NO_ROLE, roles, method)
        granted = [
            by_role[role]
            for by_role in self._tables_of(method)
            for role in roles
            if role in by_role
        ]
        if not granted:
            return self._refuse(Reason.METHOD_NOT_GRANTED, roles, method)
        first = min((item.grant for item in granted), key=lambda grant: grant.line)
        return Decision(
            allowed=True,
            reason=Reason.ALLOWED,
            roles=roles,
            role=first.role,
            rule=self._rule("grant", first.line),
            line=first.line,
            scopes=frozenset().union(*(item.scopes for item in granted)),
        )

    def roles_of_method(self, method: str) -> tuple[str, ...]:
        """Return the roles that may call a method, sorted."""
        return tuple(sorted({role for by_role in self._tables_of(method) for role in by_role}))

    def decide_served_by(self, principal: Principal, service: str) -> Decision:
        """Decide for a client whether this server may serve this service.

        Args:
            principal: the server.
            service: its full name, e.g. ``shop.v1.Payments``.
        """
        roles = role_names(self.roles_of(principal))
        rule = self._served_by.get(service)
        if rule is None:
            return Decision(allowed=False, reason=Reason.SERVICE_NOT_LISTED, roles=roles)
        has_role = rule.role in roles
        return Decision(
            allowed=has_role,
            reason=Reason.ALLOWED if has_role else Reason.SERVER_ROLE_MISSING,
            roles=roles,
            role=rule.role if has_role else None,
            rule=self._rule("served_by", rule.line),
            line=rule.line,
        )

    def _refuse(self, reason: Reason, roles: tuple[str, ...], method: str) -> Decision:
        line = self._enforcement.audited_at(method)
        if line is None:
            return Decision(allowed=False, reason=reason, roles=roles)
        rule = self._rule("audit", line)
        return Decision(
            allowed=False, reason=reason, roles=roles, rule=rule, line=line, audited=True
        )

    def _tables_of(self, method: str) -> Iterable[_ByRole]:
        return self._by_method.get(method, {}), self._by_service.get(_service_of(method), {})

    def _rule(self, kind: str, line: int) -> str:
        return f"{kind} at {self.source}:{line}"

    def _wild_matches(self, spiffe_id: SpiffeId) -> Iterable[RoleMatch]:
        segments = spiffe_id.segments
        for shape in self._shapes.get((spiffe_id.trust_domain, len(segments)), ()):
            open_at = shape[2]
            key = tuple(None if at in open_at else item for at, item in enumerate(segments))
            yield from self._wild[shape].get(key, ())


def role_names(matches: Iterable[RoleMatch]) -> tuple[str, ...]:
    """Return the names of roles, each once, sorted."""
    return tuple(sorted({match.role for match in matches}))


def _shape(pattern: SpiffePattern) -> _Shape:
    open_at = tuple(at for at, item in enumerate(pattern.segments) if item is None)
    return pattern.trust_domain, len(pattern.segments), open_at


def _shapes_by_length(shapes: Iterable[_Shape]) -> dict[tuple[TrustDomain, int], list[_Shape]]:
    by_length: dict[tuple[TrustDomain, int], list[_Shape]] = {}
    for shape in shapes:
        by_length.setdefault(shape[:2], []).append(shape)
    return by_length


def _service_of(method: str) -> str:
    """Return the service of a method's path; empty for every other path."""
    parts = method.split("/", 3)
    plain = len(parts) == 3 and not parts[0] and parts[2].isascii() and parts[2].isidentifier()
    return parts[1] if plain else ""


def _grant_tables(grants: Iterable[Grant]) -> tuple[dict[str, _ByRole], dict[str, _ByRole]]:
    by_method: dict[str, dict[str, list[Grant]]] = {}
    by_service: dict[str, dict[str, list[Grant]]] = {}
    for grant in grants:
        for pattern in grant.methods:
            if pattern.method is None:
                table = by_service.setdefault(pattern.service, {})
            else:
                table = by_method.setdefault(f"/{pattern.service}/{pattern.method}", {})
            table.setdefault(grant.role, []).append(grant)
    return _join(by_method), _join(by_service)


def _join(tables: Mapping[str, Mapping[str, list[Grant]]]) -> dict[str, _ByRole]:
    return {
        key: {
            role: _RoleGrant(
                min(grants, key=lambda grant: grant.line),
                frozenset().union(*(grant.scopes for grant in grants)),
            )
            for role, grants in by_role.items()
        }
        for key, by_role in tables.items()
    }
