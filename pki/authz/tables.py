"""Checks parsed TOML against a schema: keys, types and values, each fault with its location.

A schema is made of checks: a :class:`Table` names the keys of a table and the check of each value.
A check adds what it finds to a list and goes on, so that one run finds every fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pki.authz.toml_lines import Location
from pki.errors import InputError

_TYPE_NAMES = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    list: "a list",
    dict: "a table",
}


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """A fault in a document.

    Args:
        location: of the faulty value; for a missing key, of the table and that key.
        message: what is wrong, to be read after the location: `` is missing``.
        remedy: what to do; None if it depends on the document.
    """

    location: Location
    message: str
    remedy: str | None = None


Check = Callable[[object, Location, list[SchemaFault]], None]


@dataclass(frozen=True, slots=True)
class Table:
    """The keys of a table.

    Args:
        name: what the document is, with its article: ``a policy``.
        required: the check of each key that must be there.
        optional: the check of each key that may be there.
    """

    name: str
    required: Mapping[str, Check]
    optional: Mapping[str, Check]

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys that the table may have."""
        return (*self.required, *self.optional)

    def __call__(self, value: object, location: Location, faults: list[SchemaFault]) -> None:
        """Check a value that must be such a table."""
        if not isinstance(value, dict):
            faults.append(_wrong_type("a table", value, location))
            return
        checks: dict[str, Check] = {**self.required, **self.optional}
        for key, item in value.items():
            if key in checks:
                checks[key](item, (*location, key), faults)
            else:
                message = f" is no key that {self.name} has"
                remedy = f"The keys here are {', '.join(self.keys)}"
                faults.append(SchemaFault((*location, key), message, remedy))
        faults.extend(
            SchemaFault((*location, key), " is missing", "Add it")
            for key in self.required
            if key not in value
        )

    def faults(self, document: Mapping[str, Any]) -> list[SchemaFault]:
        """Return the faults of a whole document, in no order."""
        faults: list[SchemaFault] = []
        self(document, (), faults)
        return faults


def string(parse: Callable[[str], object] | None = None) -> Check:
    """Return a check for a string.

    Args:
        parse: raises an InputError if the string is not valid.
    """

    def check(value: object, location: Location, faults: list[SchemaFault]) -> None:
        if not isinstance(value, str):
            faults.append(_wrong_type("a string", value, location))
        elif parse is not None:
            try:
                parse(value)
            except InputError as error:
                faults.append(SchemaFault(location, f": {error.message}", error.remedy))

    return check


def boolean(value: object, location: Location, faults: list[SchemaFault]) -> None:
    """Check a boolean."""
    if not isinstance(value, bool):
        faults.append(_wrong_type("a boolean", value, location))


def list_of(check_item: Check, *, may_be_empty: bool = False) -> Check:
    """Return a check for a list."""

    def check(value: object, location: Location, faults: list[SchemaFault]) -> None:
        if not isinstance(value, list):
            faults.append(_wrong_type("a list", value, location))
            return
        if not value and not may_be_empty:
            message = " is empty, and needs at least 1 element"
            faults.append(SchemaFault(location, message, "Add one, or remove it"))
        for index, item in enumerate(value):
            check_item(item, (*location, index), faults)

    return check


def tables_of(table: Table, *, may_be_empty: bool = False) -> Check:
    """Return a check for a list of tables, which TOML writes as ``[[name]]``."""
    check_list = list_of(table, may_be_empty=may_be_empty)

    def check(value: object, location: Location, faults: list[SchemaFault]) -> None:
        if isinstance(value, list):
            check_list(value, location, faults)
            return
        fault = _wrong_type("a list of tables", value, location)
        faults.append(SchemaFault(location, fault.message, f"Write [[{location[-1]}]]"))

    return check


def mapping_of(parse_key: Callable[[str], object], check_value: Check) -> Check:
    """Return a check for a table whose keys are the author's own."""
    check_key = string(parse_key)

    def check(value: object, location: Location, faults: list[SchemaFault]) -> None:
        if not isinstance(value, dict):
            faults.append(_wrong_type("a table", value, location))
            return
        for key, item in value.items():
            check_key(key, (*location, key), faults)
            check_value(item, (*location, key), faults)

    return check


def _wrong_type(expected: str, value: object, location: Location) -> SchemaFault:
    actual = _TYPE_NAMES.get(type(value), "a date or time")
    return SchemaFault(location, f" should be {expected}, and is {actual}")
