"""Turn the errors of tomllib and of the schema into errors with line and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pki.authz.tables import SchemaFault
from pki.authz.toml_lines import LineMap, Location
from pki.errors import PolicyError, quote_untrusted

_REMEDY = "For what is allowed there: handfast docs policy"
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)| \(at end of document\)")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


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


def schema_error(
    faults: Iterable[SchemaFault], lines: LineMap, source: str, *, remedy: str = _REMEDY
) -> PolicyError:
    """Return the first error in the file, of all that the schema found.

    Args:
        faults: what the schema found, at least one.
        lines: the lines of the file's values.
        source: the file's name.
        remedy: what to do about a fault that has no remedy of its own.
    """
    first = min(faults, key=lambda fault: lines.of(fault.location))
    return PolicyError(
        f"{_where(first.location)}{first.message}",
        source=source,
        line=lines.of(first.location),
        remedy=first.remedy or remedy,
    )


def _where(location: Location) -> str:
    """Return a place by its keys; the line shows which element of a list it is."""
    keys = [part for part in location if isinstance(part, str)]
    return ".".join(key if _PLAIN_KEY.fullmatch(key) else quote_untrusted(key) for key in keys)
