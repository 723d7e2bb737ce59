"""Reads a policy file: bytes in, a policy out, or an error with the line.

The stages, each of which ends in a :class:`PolicyError` if it fails: size, UTF-8, TOML, schema (by
``pki.authz.schema``), and the references within the file. Of several faults the first in the file
is told.
"""

from __future__ import annotations

import tomllib

from pydantic import ValidationError

from pki.authz.enforcement import Enforce, EnforcementRule, Written
from pki.authz.error_messages import schema_error, syntax_error
from pki.authz.patterns import (
    MethodPattern,
    parse_method_pattern,
    parse_name_pattern,
    written_method,
)
from pki.authz.policy import Grant, Policy, PolicyRules, RoleRule, ServedBy
from pki.authz.schema import PolicyModel, parse_duration
from pki.authz.toml_lines import Lines, Location, scan_lines
from pki.errors import PolicyError, quote_untrusted
from pki.identity import TrustDomain

MAX_POLICY_BYTES = 4 * 1024 * 1024


def read_policy(data: bytes, *, source: str = "policy.toml") -> Policy:
    """Read a policy.

    Args:
        data: TOML in UTF-8, at most 4 MiB.
        source: the file's name, for messages.

    Raises:
        PolicyError: with the line, for anything that is not a policy by the schema.
    """
    text = _text(data, source)
    lines = scan_lines(text)
    document = _document(text, lines, source)
    try:
        model = PolicyModel.model_validate(document)
    except ValidationError as error:
        raise schema_error(error, lines, source) from None
    rules = _rules(model, lines)
    _check_references(rules, lines, source)
    return Policy(rules, source=source, data=data)


def _text(data: bytes, source: str) -> str:
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(
            f"{len(data)} bytes; {MAX_POLICY_BYTES} is the most",
            source=source,
            line=_line_at(data, MAX_POLICY_BYTES),
            remedy="Split the policy by trust domain or service",
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError(
            f"is not UTF-8: byte {data[error.start]:#04x} can't stand there",
            source=source,
            line=_line_at(data, error.start),
            remedy="Save it as UTF-8",
        ) from None
    if text.startswith("\ufeff"):
        raise PolicyError(
            "begins with a byte order mark",
            source=source,
            line=1,
            remedy="Save it as UTF-8 without one",
        )
    return text


def _line_at(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def _document(text: str, lines: Lines, source: str) -> dict[str, object]:
    if lines.excess is not None:
        raise PolicyError(
            lines.excess.words,
            source=source,
            line=lines.excess.line,
            remedy="No policy needs it: take it out",
        )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise syntax_error(str(error), text, lines, source) from None


def _rules(model: PolicyModel, lines: Lines) -> PolicyRules:
    roles = tuple(
        RoleRule(role, parse_name_pattern(name), name, lines.of(("roles", role, index)))
        for role, names in model.roles.items()
        for index, name in enumerate(names)
    )
    grants = tuple(
        Grant(
            item.role,
            tuple(parse_method_pattern(method) for method in item.methods),
            frozenset(item.scopes),
            lines.of(("grant", index)),
        )
        for index, item in enumerate(model.grant)
    )
    served_by = tuple(
        ServedBy(item.service, item.role, lines.of(("served_by", index)))
        for index, item in enumerate(model.served_by)
    )
    enforcement = tuple(
        EnforcementRule(
            tuple(parse_method_pattern(method) for method in item.methods),
            Enforce(item.enforce),
            lines.of(("enforcement", index)),
        )
        for index, item in enumerate(model.enforcement)
    )
    return PolicyRules(
        TrustDomain(model.trust_domain),
        roles,
        grants,
        served_by,
        parse_duration(model.policy_grace),
        parse_duration(model.revocation_grace),
        Written(Enforce(model.enforce), lines.of(("enforce",))),
        enforcement,
    )


def _check_references(rules: PolicyRules, lines: Lines, source: str) -> None:
    errors = [
        *_undefined_roles(rules, lines, source),
        *_services_twice(rules, lines, source),
        *_enforced_both_ways(rules, lines, source),
    ]
    if errors:
        raise min(errors, key=lambda error: error.line)


def _undefined_roles(rules: PolicyRules, lines: Lines, source: str) -> list[PolicyError]:
    known = {rule.role for rule in rules.roles}
    places: list[tuple[Location, str]] = [
        *((("grant", index, "role"), item.role) for index, item in enumerate(rules.grants)),
        *((("served_by", index, "role"), item.role) for index, item in enumerate(rules.served_by)),
    ]
    return [
        PolicyError(
            f"{location[0]} names the role {quote_untrusted(role)}, which is not defined",
            source=source,
            line=lines.of(location),
            remedy="Define it under [roles], or correct the name",
        )
        for location, role in places
        if role not in known
    ]


def _services_twice(rules: PolicyRules, lines: Lines, source: str) -> list[PolicyError]:
    errors = []
    seen: dict[str, int] = {}
    for index, item in enumerate(rules.served_by):
        line = lines.of(("served_by", index, "service"))
        if item.service in seen:
            error = PolicyError(
                f"served_by names the service {quote_untrusted(item.service)} again, after line "
                f"{seen[item.service]}",
                source=source,
                line=line,
                remedy="Keep one of the two",
            )
            errors.append(error)
        seen.setdefault(item.service, line)
    return errors


def _enforced_both_ways(rules: PolicyRules, lines: Lines, source: str) -> list[PolicyError]:
    errors = []
    seen: dict[MethodPattern, tuple[Enforce, int]] = {}
    for index, item in enumerate(rules.enforcement):
        for at, pattern in enumerate(item.methods):
            line = lines.of(("enforcement", index, "methods", at))
            word, first = seen.setdefault(pattern, (item.enforce, line))
            if word is item.enforce:
                continue
            error = PolicyError(
                f"enforcement says {item.enforce} of "
                f"{quote_untrusted(written_method(pattern))}, and line "
                f"{first} says {word}",
                source=source,
                line=line,
                remedy="Keep one of the two",
            )
            errors.append(error)
    return errors
