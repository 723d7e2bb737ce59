"""Reads a policy file: bytes in, a policy out, or an error with the line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

from pydantic import ValidationError

from pki.authz.lines import Location, line_numbers, line_of
from pki.authz.patterns import parse_method_pattern, parse_name_pattern
from pki.authz.policy import Grant, Policy, PolicyRules, RoleRule, ServedBy
from pki.authz.schema import PolicyModel, parse_duration
from pki.errors import PolicyError, shown
from pki.identity import TrustDomain

MAX_POLICY_BYTES = 4 * 1024 * 1024
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)")


def read_policy(data: bytes, *, source: str = "policy.toml") -> Policy:
    """Read a policy.

    Args:
        data: TOML in UTF-8, at most 4 MiB.
        source: the file's name, for messages.

    Raises:
        PolicyError: with the line, for anything that is not a policy by the schema.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(
            f"{len(data)} bytes; {MAX_POLICY_BYTES} is the most",
            source=source,
            remedy="Split the policy by trust domain or service",
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PolicyError(
            "is not UTF-8", source=source, line=line, remedy="Save it as UTF-8"
        ) from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(text, error, source) from None
    except RecursionError:
        raise PolicyError("is nested too deeply", source=source) from None
    lines = line_numbers(text.replace("\r\n", "\n"))
    try:
        model = PolicyModel.model_validate(document)
    except ValidationError as error:
        raise _schema_error(error, lines, source) from None
    rules = _rules(model, lines)
    _check_references(rules, lines, source)
    return Policy(rules, source=source, data=data)


def _rules(model: PolicyModel, lines: Mapping[Location, int]) -> PolicyRules:
    roles = tuple(
        RoleRule(role, parse_name_pattern(name), name, line_of(lines, ("roles", role, index)))
        for role, names in model.roles.items()
        for index, name in enumerate(names)
    )
    grants = tuple(
        Grant(
            item.role,
            tuple(parse_method_pattern(method) for method in item.methods),
            frozenset(item.scopes),
            line_of(lines, ("grant", index)),
        )
        for index, item in enumerate(model.grant)
    )
    served_by = tuple(
        ServedBy(item.service, item.role, line_of(lines, ("served_by", index)))
        for index, item in enumerate(model.served_by)
    )
    return PolicyRules(
        TrustDomain(model.trust_domain),
        roles,
        grants,
        served_by,
        parse_duration(model.policy_grace),
        parse_duration(model.revocation_grace),
    )


def _check_references(rules: PolicyRules, lines: Mapping[Location, int], source: str) -> None:
    known = {rule.role for rule in rules.roles}
    users = [("grant", index, item.role) for index, item in enumerate(rules.grants)]
    users += [("served_by", index, item.role) for index, item in enumerate(rules.served_by)]
    for table, index, role in users:
        if role not in known:
            raise PolicyError(
                f"{table} names the role {shown(role)}, which is not defined",
                source=source,
                line=line_of(lines, (table, index, "role")),
                remedy="Define it under [roles], or correct the name",
            )
    seen: dict[str, int] = {}
    for index, item in enumerate(rules.served_by):
        if item.service in seen:
            raise PolicyError(
                f"served_by names the service {shown(item.service)} again, after line "
                f"{seen[item.service]}",
                source=source,
                line=line_of(lines, ("served_by", index, "service")),
                remedy="Keep one of the two",
            )
        seen[item.service] = item.line


def _syntax_error(text: str, error: tomllib.TOMLDecodeError, source: str) -> PolicyError:
    words = str(error)
    found = _AT_LINE.search(words)
    line = int(found[1]) if found else text.count("\n") + 1
    return PolicyError(
        f"is no TOML: {shown(_AT_LINE.sub('', words))}",
        source=source,
        line=line,
        remedy="Correct that line; each key may stand once",
    )


def _schema_error(
    error: ValidationError, lines: Mapping[Location, int], source: str
) -> PolicyError:
    first = error.errors(include_url=False, include_input=False)[0]
    location: Location = tuple(part for part in first["loc"] if part != "[key]")
    where = ".".join(str(part) for part in location)
    words = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        words = "is no key that a policy has"
    elif first["type"] == "missing":
        words = "is missing"
    return PolicyError(
        f"{shown(where)} {words}" if where else words,
        source=source,
        line=line_of(lines, location),
        remedy="See docs/policy.md for what may stand there",
    )
