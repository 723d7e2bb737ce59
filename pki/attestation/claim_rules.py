"""Which claims a token must hold, value by value.

A claim is text, a whole number or true/false, and it must be there with exactly this value and
type. There are no wildcards and no patterns: a rule that fits more than its author thought of is
how strangers get in. Claims within claims are written as tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pki.attestation.errors import TokenRefusedError
from pki.errors import InputError, quote_untrusted

_MAX_RULES = 32


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """A claim, by the names that lead to it, and its value."""

    path: tuple[str, ...]
    value: str | int | bool

    def __str__(self) -> str:
        """Return the names that lead to the claim."""
        return " / ".join(self.path)


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """The rules on a token's claims; there is at least one."""

    rules: tuple[ClaimRule, ...]

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> ClaimRules:
        """Parse a table of claims.

        Raises:
            InputError: if it is empty, or a value is no text, whole number, truth or table.
        """
        rules = tuple(_read(table, ()))
        if not rules:
            raise InputError(
                "there is no rule on the claims: each token of the issuer would do",
                remedy='Write at least one, e.g. sub = "repo:acme/shop:ref:refs/heads/main"',
            )
        if len(rules) > _MAX_RULES:
            raise InputError(f"{len(rules)} rules on claims: {_MAX_RULES} are the most")
        return cls(rules)

    def check(self, claims: Mapping[str, Any]) -> None:
        """Check a token's claims.

        Raises:
            TokenRefusedError: if one is missing or has another value. The value is not told.
        """
        for rule in self.rules:
            value: Any = claims
            for name in rule.path:
                value = value.get(name) if isinstance(value, Mapping) else None
            # For Python, true is 1: types are compared too.
            if type(value) is not type(rule.value) or value != rule.value:
                raise TokenRefusedError(
                    f"the token's claim {quote_untrusted(rule)} is not what the rule asks for"
                )


def _read(table: Mapping[str, Any], path: tuple[str, ...]) -> list[ClaimRule]:
    rules: list[ClaimRule] = []
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            rules += _read(value, (*path, name))
        elif isinstance(value, str | int) and value != "":
            rules.append(ClaimRule((*path, name), value))
        else:
            raise InputError(
                f"the rule on the claim {quote_untrusted(name)} is no text, whole number, truth or "
                "table of them",
                remedy="Write the one value that the claim must have",
            )
    return rules
