"""Suggest names and methods of a policy that are almost those of a refused call."""

from __future__ import annotations

from difflib import get_close_matches

from pki.authz.patterns import SpiffePattern, format_method
from pki.authz.policy import Policy
from pki.authz.principal import Principal

_NAME_CUTOFF, _METHOD_CUTOFF = 0.7, 0.93
_MAX_COMPARED = 2000
_MAX_LENGTH = 256


def suggest_names(policy: Policy, principal: Principal) -> list[str]:
    """Return messages on names in the policy that are almost the principal's."""
    spiffe_id = principal.spiffe_id
    if spiffe_id is None or len(str(spiffe_id)) > _MAX_LENGTH:
        return []
    messages = []
    rules = policy.rules.roles[:_MAX_COMPARED]
    for rule in rules:
        pattern = rule.pattern
        if not isinstance(pattern, SpiffePattern):
            continue
        where = f"{rule.role} ({policy.source}:{rule.line})"
        if (
            pattern.exact is not None
            and pattern.exact.segments == spiffe_id.segments
            and pattern.trust_domain != spiffe_id.trust_domain
        ):
            messages.append(f"{rule.text} is of another trust domain, and would give {where}")
        elif pattern.exact is None and pattern.trust_domain == spiffe_id.trust_domain:
            short, long = sorted((len(pattern.segments), len(spiffe_id.segments)))
            if short < long and _is_prefix(pattern, spiffe_id.segments):
                messages.append(
                    f"{rule.text} has {len(pattern.segments)} segments, and the peer "
                    f"{len(spiffe_id.segments)}: a star is one segment; it would give {where}"
                )
    if messages:
        return messages[:3]
    prefix = f"spiffe://{spiffe_id.trust_domain.name}/"
    paths = {rule.text.removeprefix(prefix): rule for rule in rules if rule.text.startswith(prefix)}
    close = get_close_matches(
        str(spiffe_id).removeprefix(prefix), list(paths), n=1, cutoff=_NAME_CUTOFF
    )
    return [f"is {paths[item].text} meant? It gives {paths[item].role}" for item in close]


def suggest_methods(policy: Policy, method: str) -> list[str]:
    """Return messages on methods in the policy that are almost the one that was called."""
    if len(method) > _MAX_LENGTH or policy.roles_of_method(method):
        return []
    methods = {
        format_method(item): grant
        for grant in policy.rules.grants[:_MAX_COMPARED]
        for item in grant.methods
    }
    # A high cutoff, because paths of one package are equal for most of their length.
    close = get_close_matches(method, list(methods), n=1, cutoff=_METHOD_CUTOFF)
    return [
        f"is {item} meant? It is granted to {methods[item].role} "
        f"({policy.source}:{methods[item].line})"
        for item in close
    ]


def _is_prefix(pattern: SpiffePattern, segments: tuple[str, ...]) -> bool:
    # At least one segment must be equal, because stars alone match everything.
    shared = any(item is not None and item in segments for item in pattern.segments)
    return shared and all(
        mine is None or mine == theirs
        for mine, theirs in zip(pattern.segments, segments, strict=False)
    )
