"""The words for what tomllib and the schema find wrong in a policy file, with line and remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from pki.authz.schema import (
    EnforcementModel,
    FindingError,
    GrantModel,
    PolicyModel,
    ServedByModel,
)
from pki.authz.toml_lines import Lines, Location
from pki.errors import PolicyError, quote_untrusted

_REMEDY = "See docs/policy.md for what may stand there"
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)| \(at end of document\)")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_TABLES: Mapping[str, type[BaseModel]] = {
    "grant": GrantModel,
    "served_by": ServedByModel,
    "enforcement": EnforcementModel,
}
_WANTED = {
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}
_FOUND = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    list: "a list",
    dict: "a table",
}


def syntax_error(words: str, text: str, lines: Lines, source: str) -> PolicyError:
    """Return what tomllib said.

    Args:
        words: its message.
        text: the file.
        lines: what the scan saw of it.
        source: the file's name.
    """
    found = _AT_LINE.search(words)
    line = int(found[1]) if found and found[1] else text.rstrip().count("\n") + 1
    twice = lines.twice
    # tomllib names the end of the second value; the keys' own lines tell more.
    if words.startswith("Cannot overwrite") and twice is not None and twice.line <= line:
        return PolicyError(
            f"is not valid TOML: {_where(twice.location)} stands again, after line {twice.first}",
            source=source,
            line=twice.line,
            remedy="Keep one of the two",
        )
    return PolicyError(
        f"is not valid TOML: {quote_untrusted(_AT_LINE.sub('', words))}",
        source=source,
        line=line,
        remedy="Correct that line by the rules of TOML 1.0",
    )


def schema_error(error: ValidationError, lines: Lines, source: str) -> PolicyError:
    """Return what stands first in the file of all that the schema found."""
    findings = error.errors(include_url=False)
    first = min(findings, key=lambda item: lines.of(_location(item)))
    location = _location(first)
    words, remedy = _words(first, location)
    return PolicyError(
        f"{_where(location)}{words}", source=source, line=lines.of(location), remedy=remedy
    )


def _location(finding: Mapping[str, Any]) -> Location:
    # pydantic adds this mark where a table's key is at fault, not its value.
    return tuple(part for part in finding["loc"] if part != "[key]")


def _words(finding: Mapping[str, Any], location: Location) -> tuple[str, str]:
    kind = finding["type"]
    cause = finding.get("ctx", {}).get("error")
    if isinstance(cause, FindingError):
        return f": {cause.error.message}", cause.error.remedy or _REMEDY
    if kind == "extra_forbidden":
        table = _TABLES[str(location[0])] if len(location) > 1 else PolicyModel
        return " is no key that a policy has", f"There are {', '.join(table.model_fields)}"
    if kind == "missing":
        return " is missing", "Add it"
    if kind == "too_short":
        return " is empty, and needs at least 1 element", "Name one, or take it out"
    wanted, given = _WANTED[kind], _FOUND.get(type(finding["input"]), "a date or time")
    if len(location) == 1 and location[0] in _TABLES:
        return f" should be a list of tables, and is {given}", f"Write [[{location[0]}]]"
    return f" should be {wanted}, and is {given}", _REMEDY


def _where(location: Location) -> str:
    """Name a place by its keys; which element it is, the line tells."""
    keys = [part for part in location if isinstance(part, str)]
    return ".".join(key if _PLAIN_KEY.fullmatch(key) else quote_untrusted(key) for key in keys)
