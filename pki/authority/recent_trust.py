"""What goes out with each certificate, kept from one commit to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from pki.authority.crls import KnownCrls

_Result = TypeVar("_Result")


@dataclass(slots=True)
class RecentTrust:
    """What went out last, so that not each commit reads, decodes and checks it again.

    Args:
        lists: the revocation lists that went out last.
    """

    lists: KnownCrls = field(default_factory=dict)
    _made: tuple[object, object] | None = None

    def of(self, parts: object, make: Callable[[], _Result]) -> _Result:
        """Return what was made of the same parts, or make it."""
        made = self._made
        if made is None or made[0] != parts:
            made = self._made = (parts, make())
        return cast("_Result", made[1])
