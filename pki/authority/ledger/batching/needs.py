"""What a step will ask the ledger for, as far as it is known before the step is taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pki.keys import IdentifiedKey


@dataclass(frozen=True, slots=True)
class Needs:
    """What a step will read. It is read for many steps at once, before the first of them.

    What is missing here is read when it is asked for, so it is a matter of speed alone.

    Args:
        keys: the keys that it wants certified.
        workloads: the SPIFFE IDs of the workloads that it is about.
        names: the names that it will claim, without their kinds.
        serials: of the certificates that it is about, in lower-case hex.
    """

    keys: tuple[IdentifiedKey, ...] = ()
    workloads: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    serials: tuple[str, ...] = ()

    @classmethod
    def all_of(cls, needs: Iterable[Needs]) -> Needs:
        """Return what several steps need."""
        needs = tuple(needs)
        return cls(
            tuple(key for item in needs for key in item.keys),
            tuple(name for item in needs for name in item.workloads),
            tuple(name for item in needs for name in item.names),
            tuple(serial for item in needs for serial in item.serials),
        )


NOTHING = Needs()
