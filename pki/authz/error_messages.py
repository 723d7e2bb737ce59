"""Turn the errors of tomllib and of the schema into errors with line and remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from pki.authz.schema import (
    EnforcementModel,
    GrantModel,
    PolicyModel,
    SchemaValueError,
    ServedByModel,
)
from pki.authz.toml_lines import LineMap, Location
from pki.errors import PolicyError, quote_untrusted

_REMEDY = "See docs/policy.md for what is allowed there"
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)| \(at end of document\)")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_TABLES: Mapping[str, type[BaseModel]] = {
    "grant": GrantModel,
    "served_by": ServedByModel,
    "enforcement": EnforcementModel,
}
_EXPECTED_TYPES = {
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}
_TYPE_NAMES = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    list: "a list",
    dict: "a table",
}


def syntax_error(message: str, text: str, lines: LineMap, source: str) -> PolicyError:
    """Return the error for a file that tomllib refuses.

    Args:
        message: tomllib's message.
        text: the file.
        lines: the lines of its values.
        source: the file's name.
    """
    match = _AT_LINE.search(message)
    line = int(match[1]) if match and match[1] else text.rstrip().count("\n") + 1
    duplicate = lines.duplicate
    # tomllib names the line where the second value ends; the lines of the keys are more useful.
    if message.startswith("Cannot overwrite") and duplicate is not None and duplicate.line <= line:
        return PolicyError(
            f"is not valid TOML: {_where(duplicate.location)} occurs again, after line "
            f"{duplicate.first}",
            source=source,
            line=duplicate.line,
            remedy="Keep one of the two",
        )
    return PolicyError(
        f"is not valid TOML: {quote_untrusted(_AT_LINE.sub('', message))}",
        source=source,
        line=line,
        remedy="Correct that line by the rules of TOML 1.0",
    )


def schema_error(error: ValidationError, lines: LineMap, source: str) -> PolicyError:
    """Return the first error in the file, of all that the schema found."""
    findings = error.errors(include_url=False)
    first = min(findings, key=lambda item: lines.of(_location(item)))
    location = _location(first)
    message, remedy = _message_and_remedy(first, location)
    return PolicyError(
        f"{_where(location)}{message}", source=source, line=lines.of(location), remedy=remedy
    )


def _location(finding: Mapping[str, Any]) -> Location:
    # pydantic adds this mark if the key of a table is wrong, not its value.
    return tuple(part for part in finding["loc"] if part != "[key]")


def _message_and_remedy(finding: Mapping[str, Any], location: Location) -> tuple[str, str]:
    kind = finding["type"]
    cause = finding.get("ctx", {}).get("error")
    if isinstance(cause, SchemaValueError):
        return f": {cause.error.message}", cause.error.remedy or _REMEDY
    if kind == "extra_forbidden":
        table = _TABLES[str(location[0])] if len(location) > 1 else PolicyModel
        return " is no key that a policy has", f"The keys here are {', '.join(table.model_fields)}"
    if kind == "missing":
        return " is missing", "Add it"
    if kind == "too_short":
        return " is empty, and needs at least 1 element", "Add one, or remove it"
    expected, actual = (
        _EXPECTED_TYPES[kind],
        _TYPE_NAMES.get(type(finding["input"]), "a date or time"),
    )
    if len(location) == 1 and location[0] in _TABLES:
        return f" should be a list of tables, and is {actual}", f"Write [[{location[0]}]]"
    return f" should be {expected}, and is {actual}", _REMEDY


def _where(location: Location) -> str:
    """Return a place by its keys; the line shows which element of a list it is."""
    keys = [part for part in location if isinstance(part, str)]
    return ".".join(key if _PLAIN_KEY.fullmatch(key) else quote_untrusted(key) for key in keys)
