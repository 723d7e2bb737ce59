"""What a policy says, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a call is allowed or refused, one cause each."""

    ALLOWED = "ALLOWED"
    NO_ROLE = "NO_ROLE"
    METHOD_NOT_GRANTED = "METHOD_NOT_GRANTED"
    SERVICE_NOT_LISTED = "SERVICE_NOT_LISTED"
    SERVER_ROLE_MISSING = "SERVER_ROLE_MISSING"


@dataclass(frozen=True, slots=True, order=True)
class RoleMatch:
    """A role that a principal has, the pattern that gave it, and the line it stands at."""

    role: str
    pattern: str
    line: int


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer.

    Args:
        allowed: the answer of the grants.
        reason: its cause.
        roles: every role of the principal, sorted.
        role: the role that decided, if one did.
        rule: the rule that decided, e.g. ``grant at policy.toml:12``; empty if none did.
        line: the rule's line, 0 if none.
        scopes: what the grants that allow it name together.
        audited: the answer is no, and it is only told of, not enforced (``enforce = "audit"``);
            the rule is the one that says so.
    """

    allowed: bool
    reason: Reason
    roles: tuple[str, ...]
    role: str | None = None
    rule: str = ""
    line: int = 0
    scopes: frozenset[str] = frozenset()
    audited: bool = False
