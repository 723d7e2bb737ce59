"""JSON that means one thing to every reader: no name twice, no deep nesting, no odd numbers."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from pki.errors import InputError, quote_untrusted

_MAX_DEPTH = 16
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def read_json_object(data: bytes, *, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        data: UTF-8.
        what: names it in errors, e.g. ``the token's header``.

    Raises:
        InputError: if it is malformed, is no object, holds a name twice, a number that is none in
            JSON, or more than 16 levels.
    """
    try:
        text = data.decode()
        _refuse_depth(text, what)
        document = json.loads(
            text, object_pairs_hook=_unique_names, parse_constant=_refuse_constant
        )
    except InputError as error:
        raise InputError(f"{what}: {error.message}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{what} is no JSON") from None
    if not isinstance(document, dict):
        raise InputError(f"{what} is no JSON object")
    return document


def _refuse_depth(text: str, what: str) -> None:
    depth = 0
    for character in re.sub(r"[^\[\]{}]", "", _STRINGS.sub("", text)):
        depth += 1 if character in "[{" else -1
        if depth > _MAX_DEPTH:
            raise InputError(f"more than {_MAX_DEPTH} levels")


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{quote_untrusted(twice)} is there twice")
    return document


def _refuse_constant(constant: str) -> NoReturn:
    raise InputError(f"{constant} is no number")
