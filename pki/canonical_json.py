"""Read and write documents that are signed: JSON in the one form that RFC 8785 (JCS) allows.

What is verified must be what is parsed. So a document is accepted only if writing it again gives
the same bytes: sorted names, no white space, no name twice. Strings hold printable ASCII without a
backslash or a quotation mark, numbers are integers from 0 to 2^53 - 1, and octets are standard
base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from pki.errors import InputError, quote_untrusted

MAX_INTEGER = (1 << 53) - 1
_MAX_DEPTH = 8
# Without the backslash, no character has two forms.
_PRINTABLE = re.compile(rb"[ -\[\]-~]*")
_TEXT = re.compile(r"[ !#-\[\]-~]*")


def write(document: Mapping[str, object]) -> bytes:
    """Return a document in its canonical form; octets become base64.

    Raises:
        InputError: if a value has no canonical form.
    """
    _check(document, "document", 0)
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_base64
    )
    return text.encode("ascii")


def read(data: bytes, *, what: str, max_bytes: int) -> Members:
    """Read a document that is in its canonical form.

    Args:
        data: the whole document.
        what: names it in errors, e.g. ``trust bundle``.
        max_bytes: the largest document that is accepted.

    Raises:
        InputError: if it is too large, is no JSON object, or has another form.
    """
    if len(data) > max_bytes:
        raise InputError(f"{what} of {len(data)} bytes is larger than {max_bytes}")
    if not _PRINTABLE.fullmatch(data):
        raise InputError(f"{what} holds a byte that is not printable ASCII, or a backslash")
    try:
        document = json.loads(
            data,
            object_pairs_hook=_members_once,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} is no JSON: {quote_untrusted(error)}") from None
    if not isinstance(document, dict):
        raise InputError(f"{what} is no JSON object")
    if write(document) != data:
        raise InputError(
            f"{what} is not in canonical form: sorted names, no white space (RFC 8785)"
        )
    return Members(document, what)


class Members:
    """The members of an object in a document, each read with its type.

    Args:
        values: the members.
        what: names the object in errors.
    """

    def __init__(self, values: Mapping[str, Any], what: str) -> None:
        self._values = values
        self._what = what

    def require(self, names: Iterable[str], *, optional: Iterable[str] = ()) -> None:
        """Check that exactly these members are there.

        Raises:
            InputError: if one is missing or unknown.
        """
        needed, known = set(names), {*names, *optional}
        for name in sorted(needed - set(self._values)):
            raise InputError(f"{self._what} lacks {name}")
        for name in sorted(set(self._values) - known):
            raise InputError(f"{self._what} holds the unknown member {quote_untrusted(name)}")

    def __contains__(self, name: object) -> bool:
        """Return whether there is a member of that name."""
        return name in self._values

    def text(self, name: str) -> str:
        """Return a string."""
        value = self._values[name]
        if not isinstance(value, str):
            raise self._type_error(name, "a string")
        return value

    def integer(self, name: str) -> int:
        """Return an integer."""
        value = self._values[name]
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._type_error(name, "an integer")
        return value

    def octets(self, name: str) -> bytes:
        """Return the octets that a base64 string holds."""
        return _octets(self.text(name), f"{self._what}: {name}")

    def octets_list(self, name: str, *, most: int) -> tuple[bytes, ...]:
        """Return a list of octets."""
        items = self._list(name, most)
        if not all(isinstance(item, str) for item in items):
            raise self._type_error(name, "a list of strings")
        return tuple(_octets(item, f"{self._what}: {name}") for item in items)

    def text_list(self, name: str, *, most: int) -> tuple[str, ...]:
        """Return a list of strings."""
        items = self._list(name, most)
        if not all(isinstance(item, str) for item in items):
            raise self._type_error(name, "a list of strings")
        return tuple(items)

    def object(self, name: str) -> Members:
        """Return an object."""
        value = self._values[name]
        if not isinstance(value, dict):
            raise self._type_error(name, "an object")
        return Members(value, f"{self._what}: {name}")

    def objects(self, name: str, *, most: int) -> tuple[Members, ...]:
        """Return a list of objects."""
        items = self._list(name, most)
        if not all(isinstance(item, dict) for item in items):
            raise self._type_error(name, "a list of objects")
        return tuple(Members(item, f"{self._what}: {name}") for item in items)

    def _list(self, name: str, most: int) -> list[Any]:
        value = self._values[name]
        if not isinstance(value, list):
            raise self._type_error(name, "a list")
        if len(value) > most:
            raise InputError(f"{self._what}: {name} holds {len(value)} items; {most} is the most")
        return value

    def _type_error(self, name: str, kind: str) -> InputError:
        return InputError(f"{self._what}: {name} is not {kind}")


def _octets(text: str, what: str) -> bytes:
    try:
        octets = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise InputError(f"{what} is not base64") from None
    # The unused bits at the end may have any value for a lax decoder.
    if base64.b64encode(octets).decode() != text:
        raise InputError(f"{what} is base64 in a form that is not canonical")
    return octets


def _base64(value: object) -> str:
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} has no canonical form")
    return base64.b64encode(value).decode()


def _members_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is there twice")
    return members


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no integer")


def _check(value: object, what: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InputError(f"{what} is nested more than {_MAX_DEPTH} levels deep")
    match value:
        case bool():
            raise InputError(f"{what} holds a truth value; only strings and integers are allowed")
        case int() if not 0 <= value <= MAX_INTEGER:
            raise InputError(f"{what} holds a number outside 0 to 2^53 - 1")
        case str() if not _TEXT.fullmatch(value):
            raise InputError(f"{what} holds {quote_untrusted(value)}: only printable ASCII")
        case Mapping():
            for name, item in value.items():
                _check(name, what, depth + 1)
                _check(item, what, depth + 1)
        case list() | tuple():
            for item in value:
                _check(item, what, depth + 1)
        case int() | str() | bytes():
            return
        case _:
            raise InputError(f"{what} holds null, which is not allowed")
