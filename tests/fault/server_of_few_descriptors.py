"""A server in a process that may have few descriptors: ``python FILE KIND DIRECTORY POLICY MOST``.

Prints its port, then obeys lines: ``use-up`` opens files until none can be opened, ``problems``
prints what makes it unready.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
from concurrent.futures import ThreadPoolExecutor

import pki
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import AioInventory, SyncInventory


def obey(me: pki.Workload) -> None:
    held = []
    for line in sys.stdin:
        if line.strip() == "use-up":
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            print(len(held), flush=True)
        else:
            print(json.dumps(me.problems), flush=True)


async def serve_aio(me: pki.Workload) -> None:
    server = me.server()
    inventory_pb2_grpc.add_InventoryServicer_to_server(AioInventory(), server)
    print(server.add_secure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await asyncio.to_thread(obey, me)
    await server.stop(None)


def serve_sync(me: pki.Workload) -> None:
    server = me.sync_server(ThreadPoolExecutor(8))
    inventory_pb2_grpc.add_InventoryServicer_to_server(SyncInventory(), server)
    print(server.add_secure_port("127.0.0.1:0"), flush=True)
    server.start()
    obey(me)
    server.stop(None).wait()


def main() -> None:
    kind, directory, policy, most = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(most), hard))
    with pki.Workload.from_directory(directory, policy=policy) as me:
        if kind == "aio":
            asyncio.run(serve_aio(me))
        else:
            serve_sync(me)


if __name__ == "__main__":
    main()
