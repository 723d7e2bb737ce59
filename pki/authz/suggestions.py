"""What missed nearest: names and methods that are almost those of a policy."""

from __future__ import annotations

from difflib import get_close_matches

from pki.authz.patterns import SpiffePattern, written_method
from pki.authz.policy import Policy
from pki.authz.principal import Principal

_CLOSE, _CLOSE_PATH = 0.7, 0.93
_MOST_COMPARED = 2000
_LONGEST = 256


def near_names(policy: Policy, principal: Principal) -> list[str]:
    """Return lines on names in the policy that are almost one of a principal's."""
    spiffe_id = principal.spiffe_id
    if spiffe_id is None or len(str(spiffe_id)) > _LONGEST:
        return []
    said = []
    rules = policy.rules.roles[:_MOST_COMPARED]
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
            said.append(f"{rule.text} is of another trust domain, and would give {where}")
        elif pattern.exact is None and pattern.trust_domain == spiffe_id.trust_domain:
            short, long = sorted((len(pattern.segments), len(spiffe_id.segments)))
            if short < long and _begins_alike(pattern, spiffe_id.segments):
                said.append(
                    f"{rule.text} has {len(pattern.segments)} segments, and the peer "
                    f"{len(spiffe_id.segments)}: a star is one segment; it would give {where}"
                )
    if said:
        return said[:3]
    prefix = f"spiffe://{spiffe_id.trust_domain.name}/"
    paths = {rule.text.removeprefix(prefix): rule for rule in rules if rule.text.startswith(prefix)}
    close = get_close_matches(str(spiffe_id).removeprefix(prefix), list(paths), n=1, cutoff=_CLOSE)
    return [f"is {paths[item].text} meant? It gives {paths[item].role}" for item in close]


def near_methods(policy: Policy, method: str) -> list[str]:
    """Return lines on methods in the policy that are almost the one that was asked for."""
    if len(method) > _LONGEST or policy.roles_of_method(method):
        return []
    known = {
        written_method(item): grant
        for grant in policy.rules.grants[:_MOST_COMPARED]
        for item in grant.methods
    }
    # Paths of one package are alike for most of their length.
    close = get_close_matches(method, list(known), n=1, cutoff=_CLOSE_PATH)
    return [
        f"is {item} meant? It is granted to {known[item].role} ({policy.source}:{known[item].line})"
        for item in close
    ]


def _begins_alike(pattern: SpiffePattern, segments: tuple[str, ...]) -> bool:
    # Stars alone are like everything.
    shared = any(item is not None and item in segments for item in pattern.segments)
    return shared and all(
        mine is None or mine == theirs
        for mine, theirs in zip(pattern.segments, segments, strict=False)
    )
