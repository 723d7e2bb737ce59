"""Find rules in a policy that have no effect, or not the effect that they seem to have.

The lint rules, by code:

- ``unused-role``: a role that no grant and no ``served_by`` names.
- ``name-twice``: a name that a role lists twice.
- ``shadowed-name``: a name that a wildcard of the same role covers.
- ``shadowed-grant``: a grant whose methods and scopes other grants give the role too.
- ``shadowed-method``: a method of a grant that another pattern gives the role too, while other
  methods of the grant are needed.
- ``foreign-name``: a ``dns:`` name outside the trust domain. It matches only a leaf of the trust
  domain that was issued with that further name.
- ``unknown-service``, ``unknown-method``: granted, served or audited, but in no contract.
- ``ungranted-method``: in a contract, but granted to no role.
- ``unserved-service``: in a contract and granted, but without a ``served_by``.
- ``not-enforced``: methods whose refusals are only logged.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from pki.authz.analysis.contracts import WELL_KNOWN, Contracts
from pki.authz.enforcement import Enforce
from pki.authz.patterns import (
    DnsPattern,
    MethodPattern,
    NamePattern,
    SpiffePattern,
    SubjectPattern,
    format_method,
)
from pki.authz.policy import Grant, Policy, RoleRule


class Severity(StrEnum):
    """The severity of a finding."""

    ERROR = "error"
    """The rule can never have its effect."""
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class LintFinding:
    """A finding of the linter.

    Args:
        line: 1-based; 0 for the whole file.
        code: of the lint rule; it is stable.
        severity: of the finding.
        message: what is wrong.
        remedy: what to do.
    """

    line: int
    code: str
    severity: Severity
    message: str
    remedy: str


def lint(policy: Policy, contracts: Contracts | None = None) -> tuple[LintFinding, ...]:
    """Return the findings in a policy, in the order of its lines.

    Args:
        policy: the policy.
        contracts: the existing services; None skips the rules that need them.
    """
    findings = [
        *_unused_roles(policy),
        *_names(policy),
        *_shadowed_grants(policy),
        *_audited_rules(policy),
    ]
    if contracts is not None:
        findings += [*_unknown_names(policy, contracts), *_ungranted(policy, contracts)]
    return tuple(sorted(findings))


def _unused_roles(policy: Policy) -> Iterator[LintFinding]:
    rules = policy.rules
    used = {item.role for item in rules.grants} | {item.role for item in rules.served_by}
    for role in dict.fromkeys(rule.role for rule in rules.roles):
        if role not in used:
            line = min(rule.line for rule in rules.roles if rule.role == role)
            yield LintFinding(
                line,
                "unused-role",
                Severity.WARNING,
                f"the role {role} has no effect: no grant and no served_by names it",
                "Grant it something, or remove it",
            )


def _names(policy: Policy) -> Iterator[LintFinding]:
    own = policy.trust_domain
    by_role: dict[str, list[RoleRule]] = {}
    for rule in policy.rules.roles:
        by_role.setdefault(rule.role, []).append(rule)
    for role, rules in by_role.items():
        first: dict[NamePattern, int] = {}
        wild = [rule for rule in rules if _is_wild(rule.pattern)]
        for rule in rules:
            if rule.pattern in first:
                yield LintFinding(
                    rule.line,
                    "name-twice",
                    Severity.WARNING,
                    f"{rule.text} is listed under {role} already, at line {first[rule.pattern]}",
                    "Keep one of the two",
                )
                continue
            first[rule.pattern] = rule.line
            cover = next((item for item in wild if _covers(item.pattern, rule.pattern)), None)
            if cover is not None:
                yield LintFinding(
                    rule.line,
                    "shadowed-name",
                    Severity.WARNING,
                    f"{rule.text} adds nothing to {role}: {cover.text} at line {cover.line} covers "
                    "it",
                    "Remove one of the two",
                )
            pattern = rule.pattern
            if isinstance(pattern, DnsPattern) and _is_foreign(pattern.name.name, own.name):
                yield LintFinding(
                    rule.line,
                    "foreign-name",
                    Severity.WARNING,
                    f"{rule.text} is outside {own}: it matches only a leaf of {own} that was "
                    "issued with that further name",
                    "Name the peer by its SPIFFE ID",
                )


def _is_wild(pattern: NamePattern) -> bool:
    match pattern:
        case SpiffePattern():
            return pattern.exact is None
        case DnsPattern():
            return pattern.any_label
        case SubjectPattern():
            return False


def _covers(wild: NamePattern, other: NamePattern) -> bool:
    """Return whether a pattern with a wildcard matches everything that another pattern matches."""
    if wild == other:
        return False
    if isinstance(wild, SpiffePattern) and isinstance(other, SpiffePattern):
        return (
            wild.trust_domain == other.trust_domain
            and len(wild.segments) == len(other.segments)
            and all(
                mine is None or mine == theirs
                for mine, theirs in zip(wild.segments, other.segments, strict=True)
            )
        )
    if isinstance(wild, DnsPattern) and isinstance(other, DnsPattern) and not other.any_label:
        return other.name.name.partition(".")[2] == wild.name.name
    return False


def _is_foreign(name: str, own: str) -> bool:
    return name != own and not name.endswith(f".{own}")


def _shadowed_grants(policy: Policy) -> Iterator[LintFinding]:
    by_role: dict[str, list[Grant]] = {}
    for grant in policy.rules.grants:
        by_role.setdefault(grant.role, []).append(grant)
    for role, grants in by_role.items():
        # The grants of each pattern, so that each grant is compared with few others.
        by_pattern: dict[MethodPattern, list[Grant]] = {}
        for grant in grants:
            for pattern in grant.methods:
                by_pattern.setdefault(pattern, []).append(grant)
        shadowed: set[int] = set()
        # Whole grants first: if one of two grants can be removed, the other keeps its methods.
        for grant in grants:
            others = [
                _covering_grants(grant, pattern, by_pattern, shadowed) for pattern in grant.methods
            ]
            if others and all(others):
                shadowed.add(grant.line)
                lines = sorted({item.line for of_pattern in others for item in of_pattern})
                yield LintFinding(
                    grant.line,
                    "shadowed-grant",
                    Severity.WARNING,
                    f"this grant adds nothing to {role}: line "
                    f"{', '.join(map(str, lines[:5]))} grants the same",
                    "Remove one of them",
                )
        remaining = [grant for grant in grants if grant.line not in shadowed]
        yield from _shadowed_methods(role, remaining, by_pattern, shadowed)


def _shadowed_methods(
    role: str,
    grants: list[Grant],
    by_pattern: dict[MethodPattern, list[Grant]],
    shadowed: set[int],
) -> Iterator[LintFinding]:
    removed: set[tuple[int, MethodPattern]] = set()
    for grant in grants:
        for pattern in grant.methods:
            whole = MethodPattern(pattern.service, None)
            if pattern != whole and whole in grant.methods:
                where = "of the same grant"
            else:
                others = _covering_grants(grant, pattern, by_pattern, shadowed, removed)
                if not others:
                    continue
                where = f"at line {others[0].line}"
            removed.add((grant.line, pattern))
            yield LintFinding(
                grant.line,
                "shadowed-method",
                Severity.WARNING,
                f"{format_method(pattern)} adds nothing to {role} here: it is granted {where} too",
                "Remove it from one of them",
            )


def _covering_grants(
    grant: Grant,
    pattern: MethodPattern,
    by_pattern: dict[MethodPattern, list[Grant]],
    shadowed: set[int],
    removed: Set[tuple[int, MethodPattern]] = frozenset(),
) -> list[Grant]:
    """Return a grant that gives the same method with at least the same scopes, if there is one."""
    whole = MethodPattern(pattern.service, None)
    candidates = [
        (item, candidate)
        for candidate in ([pattern] if pattern == whole else [pattern, whole])
        for item in by_pattern.get(candidate, [])
    ]
    covering = [
        item
        for item, candidate in candidates
        if item is not grant
        and item.line not in shadowed
        and (item.line, candidate) not in removed
        and grant.scopes <= item.scopes
    ]
    return covering[:1]


def _audited_rules(policy: Policy) -> Iterator[LintFinding]:
    rules = policy.rules
    if rules.enforce.enforce is Enforce.AUDIT:
        yield _audit_finding(rules.enforce.line, "the whole policy")
    for rule in rules.enforcement:
        if rule.enforce is Enforce.AUDIT:
            yield _audit_finding(rule.line, ", ".join(format_method(item) for item in rule.methods))


def _audit_finding(line: int, what: str) -> LintFinding:
    return LintFinding(
        line,
        "not-enforced",
        Severity.WARNING,
        f"refusals are only logged for {what}: calls that no grant allows go through",
        "Set enforce to deny once the log shows no call that should be allowed",
    )


def _unknown_names(policy: Policy, contracts: Contracts) -> Iterator[LintFinding]:
    rules = policy.rules
    known = Contracts({**WELL_KNOWN, **contracts.services})
    methods = [(item.line, pattern) for item in rules.grants for pattern in item.methods]
    methods += [(item.line, pattern) for item in rules.enforcement for pattern in item.methods]
    for line, pattern in methods:
        yield from _unknown_method(line, pattern, known)
    for served in rules.served_by:
        if served.service not in known.services:
            yield _unknown_service(served.line, served.service, known)


def _unknown_method(
    line: int, pattern: MethodPattern, contracts: Contracts
) -> Iterator[LintFinding]:
    if pattern.service not in contracts.services:
        yield _unknown_service(line, pattern.service, contracts)
    elif pattern.method is not None and pattern.method not in contracts.services[pattern.service]:
        known = sorted(contracts.services[pattern.service])
        yield LintFinding(
            line,
            "unknown-method",
            Severity.ERROR,
            f"{format_method(pattern)} is in no contract",
            _suggest(pattern.method, known, f"{pattern.service} has {', '.join(known[:10])}"),
        )


def _unknown_service(line: int, service: str, contracts: Contracts) -> LintFinding:
    known = sorted(contracts.services)
    return LintFinding(
        line,
        "unknown-service",
        Severity.ERROR,
        f"the service {service} is in no contract",
        _suggest(service, known, "Add its contract, or correct the name"),
    )


def _suggest(word: str, known: list[str], otherwise: str) -> str:
    close = get_close_matches(word, known, n=1)
    return f"Is {close[0]} meant?" if close else otherwise


def _ungranted(policy: Policy, contracts: Contracts) -> Iterator[LintFinding]:
    served = {item.service for item in policy.rules.served_by}
    granted: set[str] = set()
    for method in contracts.methods:
        if policy.roles_of_method(method):
            granted.add(method[1:].partition("/")[0])
        else:
            yield LintFinding(
                0,
                "ungranted-method",
                Severity.WARNING,
                f"nobody may call {method}",
                "Grant it, if it should be called",
            )
    for service in sorted(granted - served):
        yield LintFinding(
            0,
            "unserved-service",
            Severity.WARNING,
            f"no served_by says who may answer {service}: clients with this policy refuse every "
            "server of it",
            "Add a [[served_by]]",
        )
