"""A server and a caller that live from the CA's service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc

import pki
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.ca_service import Served
from tests.interop.shop import SyncInventory


@contextmanager
def serving(me: pki.Workload) -> Iterator[str]:
    server = me.sync_server()
    inventory_pb2_grpc.add_InventoryServicer_to_server(SyncInventory(), server)
    port = server.add_secure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@contextmanager
def fleet(ca: Served, folder: Path, policy: Path) -> Iterator[tuple[Any, Any, grpc.Channel]]:
    """Enroll a server and a caller, and connect them."""
    with ExitStack() as stack:
        server, caller = (
            stack.enter_context(
                pki.Workload.from_ca(folder / name, token=ca.token(name), policy=policy)
            )
            for name in ("server", "caller")
        )
        address = stack.enter_context(serving(server))
        channel = stack.enter_context(caller.sync_channel(address, peer="server"))
        yield server, caller, channel
