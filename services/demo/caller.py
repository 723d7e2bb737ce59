"""A caller in a process of its own: reads orders from stdin, and writes the results to stdout.

A line in: ``{"method": ..., "target": ..., "peer": ..., "do": ...}``, where ``do`` is one of call,
open, read, watch, repeat and renew. A line out: ``{"reason": ..., "details": ...}``.

``--token-file`` enrolls with the CA, and this process keeps the directory fresh; without it,
another one does. ``--plain`` calls with bare grpcio and the files that are there, as an attacker
would.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

import pki
from pki.ca_client import CaIdentity, CaSource
from pki.proofs import EnrollmentToken
from services._proto.shop.v1 import inventory_pb2, inventory_pb2_grpc
from services.demo.calls import CALLS
from services.watching import watch_stock

_PAUSE = 0.02
_RENEWAL_SECONDS, _RENEWAL_PAUSE = 20.0, 0.5
Answer = dict[str, Any]
MakeChannel = Callable[[str, str], grpc.aio.Channel]


async def _renew(identity: CaIdentity) -> str:
    """Renew now; return the new serial number, or the problem.

    A CA that was away may be asked a moment before this process has noticed that it is back. By
    itself an identity asks again, and so does this.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + _RENEWAL_SECONDS
    while True:
        await asyncio.to_thread(identity.renew_now)
        if not identity.problem or loop.time() > end:
            return identity.problem or f"{identity.credential.leaf.serial_number:x}"
        await asyncio.sleep(_RENEWAL_PAUSE)


def plain_channels(folder: Path) -> MakeChannel:
    """Return a maker of bare grpcio channels, without a client certificate if there is no key."""
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
    """Keeps one channel to each server, and one stream.

    Args:
        make: makes a channel.
        identity: from the CA, if this process keeps it.
    """

    def __init__(self, make: MakeChannel, identity: CaIdentity | None = None) -> None:
        self._make = make
        self._identity = identity
        self._channels: dict[tuple[str, str], grpc.aio.Channel] = {}
        self._stream: Any = None

    def channel(self, target: str, peer: str) -> grpc.aio.Channel:
        """Return the channel to a server; make it first if needed."""
        if (target, peer) not in self._channels:
            self._channels[target, peer] = self._make(target, peer)
        return self._channels[target, peer]

    async def obey(self, order: Answer) -> Answer:
        """Do what an order says, and return the result."""
        try:
            details = await self._do(order)
        except grpc.aio.AioRpcError as error:
            reason = pki.reason_of(error) or error.code().name
            return {"reason": reason, "details": error.details() or ""}
        return {"reason": "ALLOWED", "details": details}

    async def _do(self, order: Answer) -> str:
        if order["do"] == "renew":
            assert self._identity is not None
            return await _renew(self._identity)
        channel = self.channel(order["target"], order["peer"])
        match order["do"]:
            case "open":
                stub = inventory_pb2_grpc.InventoryStub(channel)
                self._stream = stub.WatchStock(inventory_pb2.WatchStockRequest(sku="tea"))
                return f"stream open: {(await self._stream.read()).quantity}"
            case "read":
                return f"stream continues: {(await self._stream.read()).quantity}"
            case "watch":
                return await self._watch(channel, order["reopened"])
            case "repeat":
                return await self._repeat(channel, order)
            case _:
                return await CALLS[order["method"]](channel)

    async def _watch(self, channel: grpc.aio.Channel, reason: str) -> str:
        """Watch until the stream has ended for a reason and was reopened."""
        reopened: list[str] = []
        watching = watch_stock(inventory_pb2_grpc.InventoryStub(channel), "tea", reopened.append)
        async for _ in watching:
            if reason in reopened:
                break
        await watching.aclose()
        return f"its stream ends with its certificate ({reason}) and is reopened"

    async def _repeat(self, channel: grpc.aio.Channel, order: Answer) -> str:
        """Call again and again until the file exists that the order names."""
        calls = 0
        until = Path(order["until"])
        while not await asyncio.to_thread(until.exists):
            await CALLS[order["method"]](channel)
            calls += 1
            # Not as many as it can: the others need the processor too.
            await asyncio.sleep(_PAUSE)
        return f"{calls} calls, none failed"


async def main() -> None:
    """Obey orders until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--credential", type=Path, required=True)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--token-file", type=Path)
    settings = parser.parse_args()
    identity: CaIdentity | None = None
    async with contextlib.AsyncExitStack() as stack:
        if settings.plain:
            make = plain_channels(settings.credential)
        else:
            if settings.token_file is None:
                me = pki.Workload.from_directory(settings.credential, policy=settings.policy)
            else:
                token = EnrollmentToken.parse(settings.token_file.read_text())
                identity = stack.enter_context(CaIdentity(settings.credential, token=token))
                me = pki.Workload.from_source(CaSource(identity), policy=settings.policy)
            await stack.enter_async_context(me)

            def make(target: str, peer: str) -> grpc.aio.Channel:
                return me.channel(target, peer=peer)

        caller = Caller(make, identity)
        while line := await asyncio.to_thread(sys.stdin.readline):
            answer = await caller.obey(json.loads(line))
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
