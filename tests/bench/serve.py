"""A server in a process of its own: ``python -m tests.bench.serve '{"kind": "aio", ...}'``."""

from __future__ import annotations

import json
import sys

from tests.bench.children import Command, serve_commands
from tests.bench.service import SeenSerials, add_to, nothing
from tests.bench.sides import OURS, Identity, Loop, Settings, make_server, open_port


def main(how: Settings) -> None:
    """Serve until there are no more commands.

    Args:
        how: ``kind``, ``side``, ``record`` (whether handlers take down who calls) and what the
            side needs.
    """
    identity = Identity(how) if how["side"] == OURS else None
    seen = SeenSerials()
    note = seen.note if how.get("record") else nothing
    commands: dict[str, Command] = {"saw": seen.saw}
    if identity is not None:
        commands["replace"] = identity.replace
    if how["kind"] == "aio":
        loop = Loop()

        async def begin() -> tuple[object, int]:
            server = make_server(how, identity)
            add_to(server, "aio", note)
            port = open_port(server, how, identity)
            await server.start()
            return server, port

        running, port = loop.run(begin())
    else:
        running = make_server(how, identity)
        add_to(running, "sync", note)
        port = open_port(running, how, identity)
        running.start()
    serve_commands({"target": f"127.0.0.1:{port}"}, commands)
    del running


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
