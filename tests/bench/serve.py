"""Servers in a process of their own: ``python -m tests.bench.serve '{"kinds": ["aio"], ...}'``."""

from __future__ import annotations

import json
import sys

from tests.bench.children import Command, serve_commands
from tests.bench.service import CallerSerials, add_to, record_nothing
from tests.bench.sides import OURS, Identity, Loop, Settings, make_server, open_port


def main(settings: Settings) -> None:
    """Serve until there are no more commands.

    Args:
        settings: ``kinds``, ``side``, ``record`` (whether handlers record who calls) and what the
            side needs.
    """
    identity = Identity(settings) if settings["side"] == OURS else None
    serials = CallerSerials(settings["kinds"])
    commands: dict[str, Command] = {"wait_for": serials.wait_for}
    if identity is not None:
        commands["replace"] = identity.replace
    loop = Loop()

    async def begin_aio() -> tuple[object, int]:
        server = make_server("aio", settings, identity)
        add_to(
            server, "aio", serials.recorder_of("aio") if settings.get("record") else record_nothing
        )
        port = open_port(server, settings, identity)
        await server.start()
        return server, port

    def begin_sync() -> tuple[object, int]:
        server = make_server("sync", settings, identity)
        add_to(
            server,
            "sync",
            serials.recorder_of("sync") if settings.get("record") else record_nothing,
        )
        port = open_port(server, settings, identity)
        server.start()
        return server, port

    # gRPC stops a server that nobody holds.
    running = {
        kind: loop.run(begin_aio()) if kind == "aio" else begin_sync() for kind in settings["kinds"]
    }
    targets = {kind: f"127.0.0.1:{port}" for kind, (_, port) in running.items()}
    serve_commands({"targets": targets}, commands)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
