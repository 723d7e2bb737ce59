"""What changed while credentials were watched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from pki.cli.watch.credential_row import CredentialRow, State

_MOST_EVENTS = 8


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a credential while it was watched."""

    at: datetime
    name: str
    message: str


@dataclass(slots=True)
class History:
    """What happened while credentials were watched, the latest last."""

    events: list[Event] = field(default_factory=list)
    _before: dict[str, tuple[str, str]] = field(default_factory=dict)

    def update(self, rows: Iterable[CredentialRow], now: datetime) -> bool:
        """Compare the rows with those before; return whether anything but the time differs."""
        rows = list(rows)
        current = {row.name: (row.serial, row.problem.partition(" ")[0]) for row in rows}
        if not self._before:
            self._before = current
            return True
        changed = False
        for row in rows:
            before = self._before.get(row.name)
            if before == current[row.name]:
                continue
            changed = True
            if before is None:
                message = "appeared"
            elif before[0] != row.serial and row.state is not State.BAD:
                message = f"renewed: {row.serial[:8]}.."
            elif row.problem:
                message = row.problem
            else:
                message = "is valid again"
            self._add(Event(now, row.name, message))
        for name in self._before.keys() - current.keys():
            changed = True
            self._add(Event(now, name, "was removed"))
        self._before = current
        return changed

    def _add(self, event: Event) -> None:
        self.events = [*self.events, event][-_MOST_EVENTS:]
