"""A policy's decision, with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a call is allowed or refused."""

    ALLOWED = "ALLOWED"
    NO_ROLE = "NO_ROLE"
    METHOD_NOT_GRANTED = "METHOD_NOT_GRANTED"
    SERVICE_NOT_LISTED = "SERVICE_NOT_LISTED"
    SERVER_ROLE_MISSING = "SERVER_ROLE_MISSING"


@dataclass(frozen=True, slots=True, order=True)
class RoleMatch:
    """A role of a principal, the pattern that gave it, and the pattern's line."""

    role: str
    pattern: str
    line: int


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision on one call.

    Args:
        allowed: whether a grant allows the call.
        reason: why.
        roles: every role of the principal, sorted.
        role: the role that decided, if one did.
        rule: the rule that decided, e.g. ``grant at policy.toml:12``; empty if none did.
        line: the rule's line, 0 if none.
        scopes: those of all grants that allow the call.
        audited: whether the refusal is only logged, not enforced (``enforce = "audit"``); ``rule``
            is then the rule that says so.
    """

    allowed: bool
    reason: Reason
    roles: tuple[str, ...]
    role: str | None = None
    rule: str = ""
    line: int = 0
    scopes: frozenset[str] = frozenset()
    audited: bool = False
