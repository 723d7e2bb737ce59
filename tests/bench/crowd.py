"""Many callers of bare grpcio in one process, each with its own name, leaf and connection.

``python -m tests.bench.crowd '{"target": ..., "directories": [...]}'``. They use bare grpcio,
because only the server is measured: how fast it ends their streams.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.bench.children import serve_commands
from tests.bench.service import IDLE
from tests.bench.sides import Loop, Settings, bare_credentials

_OPTIONS = (
    ("grpc.ssl_target_name_override", "server.shop.internal"),
    ("grpc.use_local_subchannel_pool", 1),
)
_SECONDS = 30.0


class Crowd:
    """Idle streams, one for each caller."""

    def __init__(self) -> None:
        self._channels: list[grpc.aio.Channel] = []
        self._ends: list[asyncio.Task[tuple[float, str]]] = []

    async def open(self, settings: Settings) -> None:
        """Open them, and read the first message of each."""
        for directory in settings["directories"]:
            credentials = bare_credentials(Path(directory))
            channel = grpc.aio.secure_channel(settings["target"], credentials, _OPTIONS)
            stub = inventory_pb2_grpc.InventoryStub(channel)
            call = stub.WatchStock(inv.WatchStockRequest(sku=IDLE))
            await call.read()
            self._channels.append(channel)
            self._ends.append(asyncio.create_task(_end_of(call)))

    async def ends(self) -> list[tuple[float, str]]:
        """Wait until all have ended; return when (monotonic seconds) and with which code.

        Raises:
            TimeoutError: if one does not end.
        """
        async with asyncio.timeout(_SECONDS):
            return list(await asyncio.gather(*self._ends))

    async def call_again(self) -> list[str]:
        """Make one more call on each connection; return the codes."""
        return [await _code_of(channel) for channel in self._channels]


async def _end_of(call: Any) -> tuple[float, str]:
    code = await call.code()
    return time.monotonic(), code.name


async def _code_of(channel: grpc.aio.Channel) -> str:
    stub = inventory_pb2_grpc.InventoryStub(channel)
    try:
        await stub.GetStock(inv.GetStockRequest(sku="tea"), timeout=_SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


def main(settings: Settings) -> None:
    """Open the streams, and report how they ended."""
    loop, crowd = Loop(), Crowd()
    loop.run(crowd.open(settings))
    commands = {
        "ends": lambda: loop.run(crowd.ends()),
        "call_again": lambda: loop.run(crowd.call_again()),
    }
    serve_commands({}, commands)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
