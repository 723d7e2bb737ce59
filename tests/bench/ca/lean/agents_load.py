"""A process with thousands of agents that lost their CA, and go on when it is back."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pki.daemon.handlers.audit import look_again_seconds
from pki.identity import SpiffeId
from tests.bench.ca.lean.agent import Agent, Fleet, Moment
from tests.bench.ca.lean.ca_calls import host_and_port, server_name
from tests.bench.ca.lean.connections import Loop
from tests.bench.ca.served import CA_ID
from tests.bench.children import serve_commands

_PAST_SECONDS = 300.0
"""How much of the outage is lived through: by then, the pauses are as long as they get."""


class Load:
    """The agents of this process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        # Each attempt that fails would be logged.
        logging.getLogger("handfast").setLevel(logging.CRITICAL)
        back_at = datetime.fromtimestamp(settings["back_at"], tz=UTC)
        folder = Path(settings["folder"])
        windows: list[tuple[str, float, float]] = json.loads((folder / "windows.json").read_text())
        self._fleet = Fleet(
            Loop(),
            Moment(back_at),
            Path(settings["root"]),
            ("", 0),
            server_name(CA_ID),
            look_again_seconds(len(windows)),
        )
        self._agents = []
        for place in range(settings["first"], len(windows), settings["step"]):
            name, begin, end = windows[place]
            window = datetime.fromtimestamp(begin, tz=UTC), datetime.fromtimestamp(end, tz=UTC)
            agent = Agent(self._fleet, SpiffeId.parse(name), folder / f"{place}.pem", window)
            agent.live_through(_PAST_SECONDS)
            self._agents.append(agent)

    def back(self, address: str) -> None:
        """The CA is back, at this address."""
        self._fleet.address = host_and_port(address)
        self._fleet.moment.begin()
        for agent in self._agents:
            agent.come_back()
        self._fleet.loop.start()

    def state(self) -> dict[str, Any]:
        """Return what became of the agents until now."""
        fleet = self._fleet
        if fleet.loop.failed is not None:
            raise RuntimeError(f"the load has failed: {fleet.loop.failed!r}")
        return {
            "renewed": fleet.renewed,
            "ended": fleet.ended,
            "following": fleet.following,
            "attempts": fleet.attempts,
            "lateness": fleet.loop.lateness,
            "last": max(fleet.seconds, default=0.0),
            "least_left": min(fleet.left, default=0.0),
            "ends": dict(fleet.ends),
        }


if __name__ == "__main__":
    _load = Load(json.loads(sys.argv[1]))
    serve_commands({}, {"back": _load.back, "state": _load.state})
