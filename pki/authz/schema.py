"""The schema of a policy file."""

from __future__ import annotations

import re
from typing import NotRequired, TypedDict

from pki.authz.enforcement import Enforce
from pki.authz.patterns import parse_method_pattern, parse_name_pattern, parse_service
from pki.authz.tables import Table, list_of, mapping_of, string, tables_of
from pki.durations import parse_duration
from pki.errors import InputError, quote_untrusted
from pki.identity import TrustDomain

_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}", re.ASCII)  # RFC 6749 §3.3


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


class GrantTable(TypedDict):
    """``[[grant]]``: the methods that callers with a role may call."""

    role: str
    methods: list[str]
    scopes: NotRequired[list[str]]


class ServedByTable(TypedDict):
    """``[[served_by]]``: the role that servers of a service must have."""

    service: str
    role: str


class EnforcementTable(TypedDict):
    """``[[enforcement]]``: whether refusals of some methods are enforced or only logged."""

    methods: list[str]
    enforce: str


class PolicyTable(TypedDict):
    """The whole file."""

    trust_domain: str
    roles: dict[str, list[str]]
    grant: NotRequired[list[GrantTable]]
    served_by: NotRequired[list[ServedByTable]]
    policy_grace: NotRequired[str]
    revocation_grace: NotRequired[str]
    enforce: NotRequired[str]
    enforcement: NotRequired[list[EnforcementTable]]


_METHODS = list_of(string(parse_method_pattern))

GRANT = Table(
    "a policy",
    {"role": string(parse_role), "methods": _METHODS},
    {"scopes": list_of(string(parse_scope), may_be_empty=True)},
)
SERVED_BY = Table("a policy", {"service": string(parse_service), "role": string(parse_role)}, {})
ENFORCEMENT = Table("a policy", {"methods": _METHODS, "enforce": string(parse_enforce)}, {})
POLICY = Table(
    "a policy",
    {
        "trust_domain": string(TrustDomain.parse),
        "roles": mapping_of(parse_role, list_of(string(parse_name_pattern))),
    },
    {
        "grant": tables_of(GRANT, may_be_empty=True),
        "served_by": tables_of(SERVED_BY, may_be_empty=True),
        "policy_grace": string(parse_duration),
        "revocation_grace": string(parse_duration),
        "enforce": string(parse_enforce),
        "enforcement": tables_of(ENFORCEMENT, may_be_empty=True),
    },
)
