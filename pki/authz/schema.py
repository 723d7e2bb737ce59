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

_DURATION = re.compile(r"(\d{1,10})(s|m|h|d)", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=36525)  # added to a date, it stays one
ROLE = r"^[a-z][a-z0-9_-]{0,63}$"
_SCOPE = r"^[\x21\x23-\x5b\x5d-\x7e]{1,128}$"  # RFC 6749 §3.3


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
    duration = timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    if duration > _LONGEST:
        raise InputError(f"duration {shown(text)} is too long", remedy="100 years are the most")
    return duration


def _finding(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Make a parser into a check: pydantic takes a ValueError alone as a finding."""

    def check(text: str) -> str:
        try:
            parse(text)
        except InputError as error:
            raise ValueError(str(error)) from None
        return text

    return check


Role = Annotated[str, Field(pattern=ROLE)]
NameText = Annotated[str, AfterValidator(_finding(parse_name_pattern))]
MethodText = Annotated[str, AfterValidator(_finding(parse_method_pattern))]
Duration = Annotated[str, AfterValidator(_finding(parse_duration))]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class GrantModel(_Strict):
    """``[[grant]]``: a server asks whether a caller in this role may call this method."""

    role: Role
    methods: Annotated[list[MethodText], Field(min_length=1)]
    scopes: list[Annotated[str, Field(pattern=_SCOPE)]] = []


class ServedByModel(_Strict):
    """``[[served_by]]``: a client asks whether a server in this role may answer this service."""

    service: Annotated[str, AfterValidator(_finding(parse_service))]
    role: Role


class PolicyModel(_Strict):
    """The whole file."""

    trust_domain: Annotated[str, AfterValidator(_finding(TrustDomain.parse))]
    roles: dict[Role, Annotated[list[NameText], Field(min_length=1)]]
    grant: list[GrantModel] = []
    served_by: list[ServedByModel] = []
    policy_grace: Duration = "0s"
    revocation_grace: Duration = "0s"
