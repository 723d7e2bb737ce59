"""Which refusals of a policy are enforced, and which are only told of: ``enforce = "audit"``.

The nearest word counts: that for the method, then that for its service, then that for the whole
policy, which is ``deny`` unless the file says otherwise. A path that no grant could ever name is
always refused: there is nothing to try out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pki.authz.patterns import MethodPattern, parse_method_path, written_method

_MOST_SAID = 10


class Enforce(StrEnum):
    """What becomes of a call that no grant allows."""

    DENY = "deny"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class EnforcementRule:
    """One word for a few methods."""

    methods: tuple[MethodPattern, ...]
    enforce: Enforce
    line: int


@dataclass(frozen=True, slots=True)
class Written:
    """A word, and the line it stands at; 0 where it is the default."""

    enforce: Enforce
    line: int


class Enforcement:
    """The words of a policy. Immutable.

    Args:
        whole: the word for the whole policy.
        rules: the words for named methods.
    """

    __slots__ = ("_by_pattern", "_whole", "any_audit")

    def __init__(self, whole: Written, rules: Iterable[EnforcementRule]) -> None:
        self._whole = whole
        self._by_pattern: dict[MethodPattern, Written] = {}
        for rule in rules:
            for pattern in rule.methods:
                self._by_pattern.setdefault(pattern, Written(rule.enforce, rule.line))
        #: Whether any refusal of this policy is only told of.
        self.any_audit = whole.enforce is Enforce.AUDIT or bool(self._patterns(Enforce.AUDIT))

    def audited_at(self, method: str) -> int | None:
        """Return the line that says a refusal of this call is only told of; None: it is enforced.

        Args:
            method: the path just as the call gave it.
        """
        if not self.any_audit:
            return None
        pattern = parse_method_path(method)
        if pattern is None:
            return None
        word = self._by_pattern.get(pattern) or self._by_pattern.get(
            MethodPattern(pattern.service, None), self._whole
        )
        return word.line if word.enforce is Enforce.AUDIT else None

    def words(self) -> str:
        """Say for a person what is not enforced; empty if everything is."""
        if self._whole.enforce is Enforce.AUDIT:
            kept = self._patterns(Enforce.DENY)
            return "every method" + (f" but {_listed(kept)}" if kept else "")
        return _listed(self._patterns(Enforce.AUDIT))

    def _patterns(self, enforce: Enforce) -> list[str]:
        return [
            written_method(pattern)
            for pattern, word in self._by_pattern.items()
            if word.enforce is enforce
        ]


def _listed(texts: list[str]) -> str:
    more = len(texts) - _MOST_SAID
    return ", ".join(texts[:_MOST_SAID]) + (f" and {more} more" if more > 0 else "")
