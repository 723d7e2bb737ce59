"""Callers in a process of their own: ``python -m tests.bench.call '{"kinds": ["aio"], ...}'``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from tests.bench.children import Command, serve_commands
from tests.bench.loads_aio import AioLoads
from tests.bench.loads_sync import SyncLoads
from tests.bench.sides import OURS, Identity, Loop, Settings, make_channel

_LOADS = ("unary", "server_stream", "bidi", "latencies", "paced", "once", "begin", "end")


def main(settings: Settings) -> None:
    """Obey commands until there are no more: each load in turn on the channels of all kinds.

    Args:
        settings: ``kinds``, ``side``, ``targets`` and what the side needs.
    """
    identity = Identity(settings) if settings["side"] == OURS else None
    loop = Loop()

    async def begin() -> AioLoads:
        return AioLoads(make_channel("aio", settings, identity))

    def on_loop(work: Callable[..., Any]) -> Command:
        return lambda **arguments: loop.run(work(**arguments))

    loads: list[dict[str, Command]] = []
    if "aio" in settings["kinds"]:
        aio = loop.run(begin())
        loads.append({name: on_loop(getattr(aio, name)) for name in _LOADS})
    if "sync" in settings["kinds"]:
        sync = SyncLoads(make_channel("sync", settings, identity))
        loads.append({name: getattr(sync, name) for name in _LOADS})

    def by_all(name: str) -> Command:
        return lambda **arguments: [of_kind[name](**arguments) for of_kind in loads]

    commands: dict[str, Command] = {name: by_all(name) for name in _LOADS}
    if identity is not None:
        commands["replace"] = identity.replace
    serve_commands({}, commands)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
