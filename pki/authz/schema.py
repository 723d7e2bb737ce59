"""The schema of a policy file."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pki.authz.patterns import parse_method_pattern, parse_name_pattern, parse_service
from pki.errors import InputError, shown
from pki.identity import TrustDomain

_DURATION = re.compile(r"(\d{1,9})(s|m|h|d)", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST_GRACE = timedelta(days=365)
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}", re.ASCII)  # RFC 6749 §3.3


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as ``30s``, ``5m``, ``1h`` or ``7d``.

    Raises:
        InputError: if it is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise InputError(
            f"{shown(text)} is no duration", remedy="Write a whole number and s, m, h or d: 30s"
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def parse_grace(text: str) -> timedelta:
    """Parse a duration of at most a year: more than that is no grace, and times have an end.

    Raises:
        InputError: if it is none, or longer.
    """
    grace = parse_duration(text)
    if grace > _LONGEST_GRACE:
        raise InputError(
            f"a grace of {shown(text)} is longer than {_LONGEST_GRACE.days}d",
            remedy="Write hours or days, and the fewer the better",
        )
    return grace


def parse_role(text: str) -> str:
    """Check a role's name.

    Raises:
        InputError: if it is none.
    """
    if not _ROLE.fullmatch(text):
        raise InputError(
            f"role {shown(text)} is not made of 1 to 64 of a-z, 0-9, _ and -, a letter first",
            remedy="Name it like order-desk",
        )
    return text


def parse_scope(text: str) -> str:
    """Check a scope by RFC 6749 section 3.3.

    Raises:
        InputError: if it is none.
    """
    if not _SCOPE.fullmatch(text):
        raise InputError(
            f"scope {shown(text)} is not made of 1 to 128 printable ASCII characters without "
            "space, double quote and backslash (RFC 6749 section 3.3)",
            remedy="Name it like orders:write",
        )
    return text


class FindingError(ValueError):
    """What a parser of ours found, as pydantic wants it: it takes a ValueError alone."""

    def __init__(self, error: InputError) -> None:
        super().__init__(error.message)
        self.error = error


def _checked_by(parse: Callable[[str], object]) -> AfterValidator:
    def check(text: str) -> str:
        try:
            parse(text)
        except InputError as error:
            raise FindingError(error) from None
        return text

    return AfterValidator(check)


Role = Annotated[str, _checked_by(parse_role)]
NameText = Annotated[str, _checked_by(parse_name_pattern)]
MethodText = Annotated[str, _checked_by(parse_method_pattern)]
ServiceText = Annotated[str, _checked_by(parse_service)]
Scope = Annotated[str, _checked_by(parse_scope)]
Grace = Annotated[str, _checked_by(parse_grace)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class GrantModel(_Strict):
    """``[[grant]]``: a server asks whether a caller in this role may call this method."""

    role: Role
    methods: Annotated[list[MethodText], Field(min_length=1)]
    scopes: list[Scope] = []


class ServedByModel(_Strict):
    """``[[served_by]]``: a client asks whether a server in this role may answer this service."""

    service: ServiceText
    role: Role


class PolicyModel(_Strict):
    """The whole file."""

    trust_domain: Annotated[str, _checked_by(TrustDomain.parse)]
    roles: dict[Role, Annotated[list[NameText], Field(min_length=1)]]
    grant: list[GrantModel] = []
    served_by: list[ServedByModel] = []
    policy_grace: Grace = "0s"
    revocation_grace: Grace = "0s"
