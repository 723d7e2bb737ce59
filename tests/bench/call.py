"""A caller in a process of its own: ``python -m tests.bench.call '{"kind": "aio", ...}'``."""

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


def main(how: Settings) -> None:
    """Call until there are no more commands.

    Args:
        how: ``kind``, ``side``, ``target`` and what the side needs.
    """
    identity = Identity(how) if how["side"] == OURS else None
    commands: dict[str, Command] = {}
    if identity is not None:
        commands["replace"] = identity.replace
    if how["kind"] == "aio":
        loop = Loop()

        async def begin() -> AioLoads:
            return AioLoads(make_channel(how, identity))

        loads = loop.run(begin())

        def on_loop(work: Callable[..., Any]) -> Command:
            return lambda **settings: loop.run(work(**settings))

        commands.update({name: on_loop(getattr(loads, name)) for name in _LOADS})
    else:
        waiting = SyncLoads(make_channel(how, identity))
        commands.update({name: getattr(waiting, name) for name in _LOADS})
    serve_commands({}, commands)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
