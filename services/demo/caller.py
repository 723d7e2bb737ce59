"""A caller in a process of its own: reads what to call from stdin, writes what came of it.

A line in: ``{"method": ..., "target": ..., "peer": ..., "do": ...}``, where ``do`` is one of call,
open, read and repeat. A line out: ``{"reason": ..., "words": ...}``.

``--plain`` calls with bare grpcio and whatever files are there, as somebody would who does not play
by the rules.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

import pki
from services._proto.shop.v1 import inventory_pb2, inventory_pb2_grpc
from services.demo.calls import CALLS

Answer = dict[str, Any]
MakeChannel = Callable[[str, str], grpc.aio.Channel]


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Give the reason in a refusal's structured status, or the bare status code."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            info = error_details_pb2.ErrorInfo()
            if status.details and status.details[0].Unpack(info):
                return str(info.reason)
    return str(error.code().name)


def plain_channels(folder: Path) -> MakeChannel:
    """Make channels as bare grpcio does, without a client certificate where there is no key."""
    key, chain = folder / "key.pem", folder / "chain.pem"
    credentials = grpc.ssl_channel_credentials(
        (folder / "bundle.pem").read_bytes(),
        key.read_bytes() if key.exists() else None,
        chain.read_bytes() if chain.exists() else None,
    )

    def make(target: str, peer: str) -> grpc.aio.Channel:
        options = [("grpc.ssl_target_name_override", f"{peer}.shop.internal")]
        return grpc.aio.secure_channel(target, credentials, options)

    return make


class Caller:
    """Keeps one channel for each server, and one stream."""

    def __init__(self, make: MakeChannel) -> None:
        self._make = make
        self._channels: dict[tuple[str, str], grpc.aio.Channel] = {}
        self._stream: Any = None

    def channel(self, target: str, peer: str) -> grpc.aio.Channel:
        """Give the channel to a server."""
        if (target, peer) not in self._channels:
            self._channels[target, peer] = self._make(target, peer)
        return self._channels[target, peer]

    async def obey(self, order: Answer) -> Answer:
        """Do what a line says, and tell what came of it."""
        try:
            words = await self._do(order)
        except grpc.aio.AioRpcError as error:
            return {"reason": reason_of(error), "words": error.details() or ""}
        return {"reason": "ALLOWED", "words": words}

    async def _do(self, order: Answer) -> str:
        channel = self.channel(order["target"], order["peer"])
        match order["do"]:
            case "open":
                stub = inventory_pb2_grpc.InventoryStub(channel)
                self._stream = stub.WatchStock(inventory_pb2.WatchStockRequest(sku="tea"))
                return f"stream open: {(await self._stream.read()).quantity}"
            case "read":
                return f"stream goes on: {(await self._stream.read()).quantity}"
            case "repeat":
                return await self._repeat(channel, order)
            case _:
                return await CALLS[order["method"]](channel)

    async def _repeat(self, channel: grpc.aio.Channel, order: Answer) -> str:
        """Call on until the file that the order names is there."""
        calls = 0
        until = Path(order["until"])
        while not await asyncio.to_thread(until.exists):
            await CALLS[order["method"]](channel)
            calls += 1
        return f"{calls} calls, none failed"


async def main() -> None:
    """Read orders until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--credential", type=Path, required=True)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--plain", action="store_true")
    mine = parser.parse_args()
    async with contextlib.AsyncExitStack() as stack:
        make = plain_channels(mine.credential)
        if not mine.plain:
            workload: AbstractAsyncContextManager[pki.Workload] = pki.Workload.from_directory(
                mine.credential, policy=mine.policy
            )
            me = await stack.enter_async_context(workload)

            def make(target: str, peer: str) -> grpc.aio.Channel:
                return me.channel(target, peer=peer)

        caller = Caller(make)
        while line := await asyncio.to_thread(sys.stdin.readline):
            answer = await caller.obey(json.loads(line))
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
