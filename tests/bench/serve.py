"""Servers in a process of their own: ``python -m tests.bench.serve '{"kinds": ["aio"], ...}'``."""

from __future__ import annotations

import json
import sys

from tests.bench.children import Command, serve_commands
from tests.bench.service import SeenSerials, add_to, nothing
from tests.bench.sides import OURS, Identity, Loop, Settings, make_server, open_port


def main(how: Settings) -> None:
    """Serve until there are no more commands.

    Args:
        how: ``kinds``, ``side``, ``record`` (whether handlers take down who calls) and what the
            side needs.
    """
    identity = Identity(how) if how["side"] == OURS else None
    seen = SeenSerials(how["kinds"])
    commands: dict[str, Command] = {"saw": seen.saw}
    if identity is not None:
        commands["replace"] = identity.replace
    loop = Loop()

    async def begin_aio() -> tuple[object, int]:
        server = make_server("aio", how, identity)
        add_to(server, "aio", seen.note_of("aio") if how.get("record") else nothing)
        port = open_port(server, how, identity)
        await server.start()
        return server, port

    def begin_sync() -> tuple[object, int]:
        server = make_server("sync", how, identity)
        add_to(server, "sync", seen.note_of("sync") if how.get("record") else nothing)
        port = open_port(server, how, identity)
        server.start()
        return server, port

    # gRPC stops a server that nobody holds.
    running = {
        kind: loop.run(begin_aio()) if kind == "aio" else begin_sync() for kind in how["kinds"]
    }
    targets = {kind: f"127.0.0.1:{port}" for kind, (_, port) in running.items()}
    serve_commands({"targets": targets}, commands)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
