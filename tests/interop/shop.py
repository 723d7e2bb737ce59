"""A real server and real callers on loopback, for the tests of the runtime."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

import pki
from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.clock import system_clock
from pki.files import load_credential
from pki.identity import DnsName, TrustDomain
from services._proto.shop.v1 import (
    inventory_pb2 as inv,
)
from services._proto.shop.v1 import (
    inventory_pb2_grpc,
    payments_pb2_grpc,
)
from services._proto.shop.v1 import (
    payments_pb2 as pay,
)
from tests.ready_made import ReadyMade

POLICY = """\
trust_domain = "shop.internal"
[roles]
caller = ["spiffe://shop.internal/caller"]
server = ["spiffe://shop.internal/server"]
reader = ["dns:reader.shop.internal"]
[[grant]]
role = "caller"
methods = ["/shop.v1.Inventory/*", "/shop.v1.Payments/*", "/shop.v1.Unknown/*"]
scopes = ["all"]
[[grant]]
role = "reader"
methods = ["/shop.v1.Inventory/GetStock"]
[[served_by]]
service = "shop.v1.Inventory"
role = "server"
[[served_by]]
service = "shop.v1.Payments"
role = "server"
"""
SECONDS = 10.0


@dataclass
class ShiftedClock:
    """The machine's clock, shifted by hand: handshakes go by the real one."""

    shift: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return system_clock() + self.shift

    def move(self, **by: float) -> None:
        self.shift += timedelta(**by)


class AioInventory(inventory_pb2_grpc.InventoryServicer):
    """Answers with who asked."""

    async def GetStock(self, request: inv.GetStockRequest, context: object) -> inv.GetStockResponse:
        await asyncio.sleep(0)
        return inv.GetStockResponse(quantity=len(str(pki.peer().spiffe_id)))

    def Reserve(self, request: inv.ReserveRequest, context: object) -> inv.ReserveResponse:
        """Answer as a plain function, which gRPC runs in a thread."""
        return inv.ReserveResponse(left=len(pki.peer().roles))

    async def WatchStock(
        self, request: inv.WatchStockRequest, context: object
    ) -> AsyncIterator[inv.WatchStockResponse]:
        yield inv.WatchStockResponse(quantity=len(pki.peer().spiffe_id.path))
        await asyncio.Event().wait()

    async def Restock(
        self, request_iterator: AsyncIterator[inv.RestockRequest], context: object
    ) -> inv.RestockResponse:
        units = [item.quantity async for item in request_iterator]
        return inv.RestockResponse(units=sum(units), deliveries=len(pki.peer().scopes))


class SyncInventory(inventory_pb2_grpc.InventoryServicer):
    """The same in threads."""

    def GetStock(self, request: inv.GetStockRequest, context: object) -> inv.GetStockResponse:
        return inv.GetStockResponse(quantity=len(str(pki.peer().spiffe_id)))

    def Reserve(self, request: inv.ReserveRequest, context: object) -> inv.ReserveResponse:
        return inv.ReserveResponse(left=len(pki.peer().roles))

    def WatchStock(
        self, request: inv.WatchStockRequest, context: Any
    ) -> Iterator[inv.WatchStockResponse]:
        yield inv.WatchStockResponse(quantity=len(pki.peer().spiffe_id.path))
        while context.is_active():
            time.sleep(0.02)

    def Restock(
        self, request_iterator: Iterator[inv.RestockRequest], context: object
    ) -> inv.RestockResponse:
        units = [item.quantity for item in request_iterator]
        return inv.RestockResponse(units=sum(units), deliveries=len(pki.peer().scopes))


class PlainInventory(SyncInventory):
    """Plain functions, as an asyncio server runs them too: their context knows no is_active."""

    def WatchStock(
        self, request: inv.WatchStockRequest, context: Any
    ) -> Iterator[inv.WatchStockResponse]:
        while True:
            yield inv.WatchStockResponse(quantity=1)
            time.sleep(0.02)


class AioPayments(payments_pb2_grpc.PaymentsServicer):
    """Echoes, by writing to the context."""

    async def Settle(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        async for item in request_iterator:
            await context.write(
                pay.SettleResponse(order_id=item.order_id, receipt=pki.peer().spiffe_id.path)
            )


class SyncPayments(payments_pb2_grpc.PaymentsServicer):
    """Echoes, as a generator."""

    def Settle(self, request_iterator: Any, context: Any) -> Iterator[pay.SettleResponse]:
        for item in request_iterator:
            yield pay.SettleResponse(order_id=item.order_id, receipt=pki.peer().spiffe_id.path)


class Shop:
    """A CA, credential directories and a policy in a folder, and what is run on them."""

    def __init__(self, home: Path, *names: str) -> None:
        """Write the CA, the policy, and the credential directories of these names."""
        self.home = home
        self.clock = ShiftedClock()
        _ready_shop(names).write(home)
        self.ca = Authority.open(home / "ca")
        self.policy = home / "policy" / "policy.toml"

    def directory(self, name: str) -> Path:
        """Return a workload's credential directory, issued when it is first asked for."""
        folder = self.home / name
        if not folder.exists():
            self.ca.issue(name).save(folder)
            self.bring_trust()
        return folder

    def workload(self, name: str, *, shifted: bool = False, **how: Any) -> pki.Workload:
        """Make a workload of that name; ``shifted`` gives it the clock that tests move."""
        how.setdefault("policy", self.policy)
        if shifted:
            how["clock"] = self.clock
        return pki.Workload.from_directory(self.directory(name), **how)

    def bring_trust(self) -> None:
        """Bring the CA's present lists to everybody."""
        _bring_trust(self.home)

    def write_policy(self, text: str) -> None:
        """Replace the policy as an editor does."""
        aside = self.policy.with_suffix(".new")
        aside.write_text(text)
        aside.replace(self.policy)

    @contextmanager
    def aio_server(
        self,
        me: pki.Workload,
        address: str = "127.0.0.1:0",
        inventory: inventory_pb2_grpc.InventoryServicer | None = None,
        **how: Any,
    ) -> Iterator[str]:
        """Run an asyncio server in a thread; give its address."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()

        async def begin() -> tuple[grpc.aio.Server, int]:
            server = me.server(**how)
            inventory_pb2_grpc.add_InventoryServicer_to_server(inventory or AioInventory(), server)
            payments_pb2_grpc.add_PaymentsServicer_to_server(AioPayments(), server)
            port = server.add_secure_port(address)
            await server.start()
            return server, port

        server, port = asyncio.run_coroutine_threadsafe(begin(), loop).result(SECONDS)
        try:
            yield address if address.startswith("unix:") else f"127.0.0.1:{port}"
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(0.2), loop).result(SECONDS)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    @contextmanager
    def sync_server(
        self, me: pki.Workload, address: str = "127.0.0.1:0", **how: Any
    ) -> Iterator[str]:
        """Run a synchronous server; give its address."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            server = me.sync_server(pool, **how)
            inventory_pb2_grpc.add_InventoryServicer_to_server(SyncInventory(), server)
            payments_pb2_grpc.add_PaymentsServicer_to_server(SyncPayments(), server)
            port = server.add_secure_port(address)
            server.start()
            try:
                yield address if address.startswith("unix:") else f"127.0.0.1:{port}"
            finally:
                server.stop(0.2).wait()

    def server(self, kind: str, me: pki.Workload, **how: Any) -> Any:
        """Run a server of either kind."""
        return self.aio_server(me, **how) if kind == "aio" else self.sync_server(me, **how)


def _bring_trust(home: Path) -> None:
    for folder in home.iterdir():
        if (folder / "crl.pem").exists() and folder.name != "ca":
            aside = folder / ".crl.aside"
            shutil.copy(home / "ca" / "crl.pem", aside)
            aside.replace(folder / "crl.pem")


@functools.cache
def _ready_shop(names: tuple[str, ...]) -> ReadyMade:
    def make(home: Path) -> None:
        (home / "policy").mkdir(parents=True)
        (home / "policy" / "policy.toml").write_text(POLICY)
        plan = AuthorityPlan(TrustDomain("shop.internal"), (DnsName("localhost"),))
        with Authority.create(home / "ca", plan) as ca:
            for name in names:
                ca.issue(name).save(home / name)
        _bring_trust(home)

    return ReadyMade(make)


def get_stock(channel: grpc.Channel, **how: Any) -> int:
    """Make a unary call."""
    stub = inventory_pb2_grpc.InventoryStub(channel)
    return stub.GetStock(inv.GetStockRequest(sku="tea"), timeout=SECONDS, **how).quantity


def reason(error: grpc.RpcError) -> str:
    """Return the reason of a refusal: that of its one ErrorInfo, or the bare code."""
    assert isinstance(error, grpc.RpcError)
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == "grpc-status-details-bin":
            assert isinstance(value, bytes)
            status = status_pb2.Status.FromString(value)
            info = error_details_pb2.ErrorInfo()
            assert len(status.details) == 1
            assert status.details[0].Unpack(info)
            assert info.domain == "handfast"
            assert status.code == error.code().value[0]
            return str(info.reason)
    return error.code().name


def refused(call: Callable[[], object]) -> str:
    """Make a call that must be refused; give the reason."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return reason(error)
    raise AssertionError(f"was allowed: {answer}")


def watch(channel: grpc.Channel) -> Any:
    """Open a stream of answers, and see its first message."""
    stream = inventory_pb2_grpc.InventoryStub(channel).WatchStock(inv.WatchStockRequest())
    assert next(stream).quantity > 0
    return stream


def ended(stream: Any) -> str:
    """Wait for a stream's end; give its reason."""
    try:
        for _ in stream:
            pass
    except grpc.RpcError as error:
        return reason(error)
    raise AssertionError("the stream ended well")


def revoke(shop: Shop, name: str) -> None:
    """Revoke the certificate in a workload's directory, and bring everybody the lists."""
    leaf = load_credential(shop.directory(name)).credential.leaf
    shop.ca.revoke(leaf.serial_number, reason="key-compromise")
    shop.bring_trust()


def forked() -> int:
    """Fork; 0 in the child, which ends itself after a while, whatever holds it up.

    Nothing is collected there: gRPC's objects of earlier tests would wait for threads that stayed
    in the parent.
    """
    gc.disable()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
    else:
        gc.enable()
    return child


def eventually(check: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait until something that another thread brings about is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.02)
    return check()


def soon(channel: grpc.Channel, wanted: str) -> bool:
    """Return whether calls are refused for a reason before long, or ``ALLOWED``."""

    def is_so() -> bool:
        try:
            get_stock(channel)
        except grpc.RpcError as error:
            return reason(error) == wanted
        return wanted == "ALLOWED"

    return eventually(is_so)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
