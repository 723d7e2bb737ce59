"""The schema of a policy file."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pki.authz.enforcement import Enforce
from pki.authz.patterns import parse_method_pattern, parse_name_pattern, parse_service
from pki.errors import InputError, quote_untrusted
from pki.identity import TrustDomain

_DURATION = re.compile(r"(\d{1,10})(s|m|h|d)", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=36525)  # small enough to be added to a date
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}", re.ASCII)  # RFC 6749 §3.3


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as ``30s``, ``5m``, ``1h`` or ``7d``.

    Raises:
        InputError: if it is not a duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InputError(
            f"{quote_untrusted(text)} is no duration",
            remedy="Write a whole number and s, m, h or d: 30s",
        )
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise InputError(
            f"duration {quote_untrusted(text)} is too long", remedy="100 years are the most"
        )
    return timedelta(seconds=seconds)


def parse_role(text: str) -> str:
    """Check a role's name.

    Raises:
        InputError: if it is not valid.
    """
    if not _ROLE.fullmatch(text):
        raise InputError(
            f"role {quote_untrusted(text)} does not match the pattern {_ROLE.pattern}",
            remedy="Name it like order-desk",
        )
    return text


def parse_scope(text: str) -> str:
    """Check a scope by RFC 6749 section 3.3.

    Raises:
        InputError: if it is not valid.
    """
    if not _SCOPE.fullmatch(text):
        raise InputError(
            f"scope {quote_untrusted(text)} does not match the pattern of RFC 6749 section "
            "3.3: 1 to 128 "
            "printable ASCII characters without space, double quote and backslash",
            remedy="Name it like orders:write",
        )
    return text


def parse_enforce(text: str) -> Enforce:
    """Parse the setting whether refusals are enforced.

    Raises:
        InputError: if it is neither ``deny`` nor ``audit``.
    """
    try:
        return Enforce(text)
    except ValueError:
        raise InputError(
            f"{quote_untrusted(text)} is neither deny nor audit",
            remedy="Write deny to refuse what no grant allows, or audit to let it through and "
            "log it",
        ) from None


class SchemaValueError(ValueError):
    """Carries an InputError through pydantic, which handles only a ValueError."""

    def __init__(self, error: InputError) -> None:
        super().__init__(error.message)
        self.error = error


def _checked_by(parse: Callable[[str], object]) -> AfterValidator:
    def check(text: str) -> str:
        try:
            parse(text)
        except InputError as error:
            raise SchemaValueError(error) from None
        return text

    return AfterValidator(check)


Role = Annotated[str, _checked_by(parse_role)]
NameText = Annotated[str, _checked_by(parse_name_pattern)]
MethodText = Annotated[str, _checked_by(parse_method_pattern)]
ServiceText = Annotated[str, _checked_by(parse_service)]
Scope = Annotated[str, _checked_by(parse_scope)]
Duration = Annotated[str, _checked_by(parse_duration)]
EnforceText = Annotated[str, _checked_by(parse_enforce)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class GrantModel(_Strict):
    """``[[grant]]``: the methods that callers with a role may call."""

    role: Role
    methods: Annotated[list[MethodText], Field(min_length=1)]
    scopes: list[Scope] = []


class ServedByModel(_Strict):
    """``[[served_by]]``: the role that servers of a service must have."""

    service: ServiceText
    role: Role


class EnforcementModel(_Strict):
    """``[[enforcement]]``: whether refusals of some methods are enforced or only logged."""

    methods: Annotated[list[MethodText], Field(min_length=1)]
    enforce: EnforceText


class PolicyModel(_Strict):
    """The whole file."""

    trust_domain: Annotated[str, _checked_by(TrustDomain.parse)]
    roles: dict[Role, Annotated[list[NameText], Field(min_length=1)]]
    grant: list[GrantModel] = []
    served_by: list[ServedByModel] = []
    policy_grace: Duration = "0s"
    revocation_grace: Duration = "0s"
    enforce: EnforceText = Enforce.DENY.value
    enforcement: list[EnforcementModel] = []
