"""Decide which refusals of a policy are only logged (``enforce = "audit"``), not enforced.

The most specific setting applies: that of the method, then that of its service, then that of the
whole policy, which is ``deny`` by default. A path that no grant can name is always refused, because
there is nothing to try out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pki.authz.patterns import MethodPattern, format_method, parse_method_path
from pki.errors import join_first

_MAX_LISTED = 10


class Enforce(StrEnum):
    """What happens to a call that no grant allows."""

    DENY = "deny"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class EnforcementRule:
    """The setting for some methods."""

    methods: tuple[MethodPattern, ...]
    enforce: Enforce
    line: int


@dataclass(frozen=True, slots=True)
class EnforceSetting:
    """A setting and its line; 0 if it is the default."""

    enforce: Enforce
    line: int


class Enforcement:
    """All enforcement settings of a policy. Immutable.

    Args:
        whole: for the whole policy.
        rules: for named methods.
    """

    __slots__ = ("_by_pattern", "_whole", "any_audit")

    def __init__(self, whole: EnforceSetting, rules: Iterable[EnforcementRule]) -> None:
        self._whole = whole
        self._by_pattern: dict[MethodPattern, EnforceSetting] = {}
        for rule in rules:
            for pattern in rule.methods:
                self._by_pattern.setdefault(pattern, EnforceSetting(rule.enforce, rule.line))
        #: Whether any refusal of this policy is only logged.
        self.any_audit = whole.enforce is Enforce.AUDIT or bool(self._patterns(Enforce.AUDIT))

    def audited_at(self, method: str) -> int | None:
        """Return the line of the setting by which refusals of a method are only logged.

        Args:
            method: the path exactly as in the call.

        Returns:
            The line; None if refusals are enforced.
        """
        if not self.any_audit:
            return None
        pattern = parse_method_path(method)
        if pattern is None:
            return None
        setting = self._by_pattern.get(pattern) or self._by_pattern.get(
            MethodPattern(pattern.service, None), self._whole
        )
        return setting.line if setting.enforce is Enforce.AUDIT else None

    def audited_summary(self) -> str:
        """Return the methods whose refusals are only logged, as text; empty if there are none."""
        if self._whole.enforce is Enforce.AUDIT:
            enforced = self._patterns(Enforce.DENY)
            return "every method" + (
                f" but {join_first(enforced, _MAX_LISTED)}" if enforced else ""
            )
        return join_first(self._patterns(Enforce.AUDIT), _MAX_LISTED)

    def _patterns(self, enforce: Enforce) -> list[str]:
        return [
            format_method(pattern)
            for pattern, setting in self._by_pattern.items()
            if setting.enforce is enforce
        ]
