"""Read a policy file: bytes in, a policy out, or an error with the line.

The stages, each of which raises a :class:`PolicyError` if it fails: size, UTF-8, TOML, schema (by
``pki.authz.schema``), and the references within the file. If one stage finds several errors, the
first in the file is raised.
"""

from __future__ import annotations

import tomllib
from typing import cast

from pki.authz.enforcement import Enforce, EnforcementRule, EnforceSetting
from pki.authz.error_messages import schema_error, syntax_error
from pki.authz.patterns import (
    MethodPattern,
    format_method,
    parse_method_pattern,
    parse_name_pattern,
)
from pki.authz.policy import Grant, Policy, PolicyRules, RoleRule, ServedBy
from pki.authz.schema import POLICY, PolicyTable
from pki.authz.toml_lines import LineMap, Location, map_lines
from pki.durations import parse_duration
from pki.errors import PolicyError, quote_untrusted
from pki.identity import TrustDomain

MAX_POLICY_BYTES = 4 * 1024 * 1024


def read_policy(data: bytes, *, source: str = "policy.toml") -> Policy:
    """Read a policy.

    Args:
        data: TOML in UTF-8, at most 4 MiB.
        source: the file's name, for messages.

    Raises:
        PolicyError: with the line, if the data is not a valid policy.
    """
    text = _text(data, source)
    lines = map_lines(text)
    rules = _rules(_checked(_document(text, lines, source), lines, source), lines)
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
            f"is not UTF-8: byte {data[error.start]:#04x} is not allowed there",
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


def _document(text: str, lines: LineMap, source: str) -> dict[str, object]:
    if lines.exceeded is not None:
        raise PolicyError(
            lines.exceeded.message,
            source=source,
            line=lines.exceeded.line,
            remedy="No policy needs this: leave it out",
        )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise syntax_error(str(error), text, lines, source) from None


def _checked(document: dict[str, object], lines: LineMap, source: str) -> PolicyTable:
    faults = POLICY.faults(document)
    if faults:
        raise schema_error(faults, lines, source)
    return cast("PolicyTable", document)


def _rules(table: PolicyTable, lines: LineMap) -> PolicyRules:
    roles = tuple(
        RoleRule(role, parse_name_pattern(name), name, lines.of(("roles", role, index)))
        for role, names in table["roles"].items()
        for index, name in enumerate(names)
    )
    grants = tuple(
        Grant(
            item["role"],
            tuple(parse_method_pattern(method) for method in item["methods"]),
            frozenset(item.get("scopes", ())),
            lines.of(("grant", index)),
        )
        for index, item in enumerate(table.get("grant", ()))
    )
    served_by = tuple(
        ServedBy(item["service"], item["role"], lines.of(("served_by", index)))
        for index, item in enumerate(table.get("served_by", ()))
    )
    enforcement = tuple(
        EnforcementRule(
            tuple(parse_method_pattern(method) for method in item["methods"]),
            Enforce(item["enforce"]),
            lines.of(("enforcement", index)),
        )
        for index, item in enumerate(table.get("enforcement", ()))
    )
    return PolicyRules(
        TrustDomain(table["trust_domain"]),
        roles,
        grants,
        served_by,
        parse_duration(table.get("policy_grace", "0s")),
        parse_duration(table.get("revocation_grace", "0s")),
        EnforceSetting(Enforce(table.get("enforce", Enforce.DENY)), lines.of(("enforce",))),
        enforcement,
    )


def _check_references(rules: PolicyRules, lines: LineMap, source: str) -> None:
    errors = [
        *_undefined_roles(rules, lines, source),
        *_duplicate_services(rules, lines, source),
        *_conflicting_enforcement(rules, lines, source),
    ]
    if errors:
        raise min(errors, key=lambda error: error.line)


def _undefined_roles(rules: PolicyRules, lines: LineMap, source: str) -> list[PolicyError]:
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


def _duplicate_services(rules: PolicyRules, lines: LineMap, source: str) -> list[PolicyError]:
    errors = []
    first_lines: dict[str, int] = {}
    for index, item in enumerate(rules.served_by):
        line = lines.of(("served_by", index, "service"))
        if item.service in first_lines:
            error = PolicyError(
                f"served_by names the service {quote_untrusted(item.service)} again, after line "
                f"{first_lines[item.service]}",
                source=source,
                line=line,
                remedy="Keep one of the two",
            )
            errors.append(error)
        first_lines.setdefault(item.service, line)
    return errors


def _conflicting_enforcement(rules: PolicyRules, lines: LineMap, source: str) -> list[PolicyError]:
    errors = []
    settings: dict[MethodPattern, tuple[Enforce, int]] = {}
    for index, item in enumerate(rules.enforcement):
        for at, pattern in enumerate(item.methods):
            line = lines.of(("enforcement", index, "methods", at))
            setting, first = settings.setdefault(pattern, (item.enforce, line))
            if setting is item.enforce:
                continue
            error = PolicyError(
                f"enforcement says {item.enforce} of "
                f"{quote_untrusted(format_method(pattern))}, and line "
                f"{first} says {setting}",
                source=source,
                line=line,
                remedy="Keep one of the two",
            )
            errors.append(error)
    return errors
