"""Prefork servers: what is made after a fork serves, and what was carried across one says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

import pki
from tests.interop.shop import Shop, eventually, free_port, get_stock

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "fork.md").read_text(encoding="utf-8")
RECIPE = PAGE.partition("```python\n")[2].partition("```")[0]

# Each process asks the system for a port of its own, and says which.
BY_MULTIPROCESSING = """
import asyncio, multiprocessing, sys
import pki
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import AioInventory

async def serve(directory, policy, ports):
    async with pki.Workload.from_directory(directory, policy=policy) as me:
        server = me.server()
        inventory_pb2_grpc.add_InventoryServicer_to_server(AioInventory(), server)
        port = server.add_secure_port("127.0.0.1:0")
        await server.start()
        ports.put(port)
        await server.wait_for_termination()

def work(*how):
    asyncio.run(serve(*how))

if __name__ == "__main__":
    kind, directory, policy = sys.argv[1:]
    context = multiprocessing.get_context(kind)
    ports = context.Queue()
    workers = [
        context.Process(target=work, args=(directory, policy, ports), daemon=True)
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    print(*(ports.get(timeout=20) for _ in workers), flush=True)
    sys.stdin.read()
"""

# Each attempt has a child of its own, which the alarm ends if it hangs.
CARRIED = """
import asyncio, json, os, signal, sys
import pki
from tests.interop.shop import AioInventory, SyncInventory, get_stock
from services._proto.shop.v1 import inventory_pb2, inventory_pb2_grpc

me = pki.Workload.from_directory(sys.argv[1], policy=sys.argv[3])
caller = pki.Workload.from_directory(sys.argv[2], policy=sys.argv[3])
server = me.sync_server()
inventory_pb2_grpc.add_InventoryServicer_to_server(SyncInventory(), server)
target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0')}"
server.start()
channel = caller.sync_channel(target, peer="server")
assert get_stock(channel) > 0
unstarted = me.sync_server()

async def make_aio():
    return caller.channel(target, peer="server"), me.server()

async def call_aio(channel):
    stub = inventory_pb2_grpc.InventoryStub(channel)
    await stub.GetStock(inventory_pb2.GetStockRequest(sku="tea"))

aio_channel, aio_server = asyncio.run(make_aio())

def end_a_with_block():
    with me:
        pass

attempts = {
    "server": me.server,
    "sync_server": me.sync_server,
    "channel": lambda: me.channel(target, peer="server"),
    "sync_channel": lambda: me.sync_channel(target, peer="server"),
    "reload": me.reload,
    "credential": lambda: me.credential,
    "problems": lambda: me.problems,
    "port": lambda: unstarted.add_secure_port("127.0.0.1:0"),
    "start": unstarted.start,
    "aio start": lambda: asyncio.run(aio_server.start()),
    "call": lambda: get_stock(channel),
    "aio call": lambda: asyncio.run(call_aio(aio_channel)),
    "close": me.close,
    "with": end_a_with_block,
    "channel close": channel.close,
    "aio channel close": lambda: asyncio.run(aio_channel.close()),
}
for name, attempt in attempts.items():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        try:
            attempt()
            said = "fine"
        except BaseException as error:
            said = f"{type(error).__name__}: {error} {getattr(error, 'remedy', '')}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    said = os.read(reading, 4096).decode() if status == 0 else f"ended by {status}"
    print(json.dumps([name, said]), flush=True)
    os.close(reading)
print(json.dumps(["parent", str(get_stock(channel))]), flush=True)
os._exit(0)
"""


@contextmanager
def program(
    shop: Shop, text: str, *arguments: str | Path, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Run a program of its own: gRPC has begun in this process, which must not fork."""
    file = shop.home / "program.py"
    file.write_text(text)
    with subprocess.Popen(
        [sys.executable, str(file), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    ) as running:
        try:
            yield running
        finally:
            running.terminate()


def worker_that_answers(caller: pki.Workload, target: str) -> int:
    """Make a call on a new connection; give the worker's number, 0 if none answered."""
    with caller.sync_channel(target, peer="server") as channel:
        try:
            return get_stock(channel)
        except grpc.RpcError:
            return 0


def test_workers_on_one_port_all_answer_and_one_that_was_killed_is_replaced(shop: Shop) -> None:
    target = f"127.0.0.1:{free_port()}"
    with (
        program(shop, RECIPE, shop.directory("server"), shop.policy, target) as master,
        shop.workload("caller") as caller,
    ):
        seen: set[int] = set()

        def have_answered(workers: int) -> bool:
            seen.update({worker_that_answers(caller, target)} - {0})
            return len(seen) == workers

        assert eventually(lambda: have_answered(4), 20)
        assert master.pid not in seen
        os.kill(min(seen), signal.SIGKILL)
        assert eventually(lambda: have_answered(5), 20)
        master.terminate()
        assert master.wait(20) == 0
        for worker in seen:
            with pytest.raises(ProcessLookupError):
                os.kill(worker, 0)


@pytest.mark.parametrize("kind", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_serve_with_a_workload_of_their_own(
    shop: Shop, kind: str
) -> None:
    with (
        program(shop, BY_MULTIPROCESSING, kind, shop.directory("server"), shop.policy) as parent,
        shop.workload("caller") as caller,
    ):
        assert parent.stdout is not None
        ports = parent.stdout.readline().split()
        assert len(set(ports)) == 2
        for port in ports:
            with caller.sync_channel(f"127.0.0.1:{port}", peer="server") as channel:
                assert get_stock(channel) > 0
        parent.communicate("", timeout=20)


def test_a_port_is_shared_only_by_those_who_ask_for_it(shop: Shop) -> None:
    shared = [("grpc.so_reuseport", 1)]
    with shop.workload("server") as me, shop.sync_server(me) as target:
        with pytest.raises(RuntimeError), shop.sync_server(me, target):
            pass
        with pytest.raises(RuntimeError), shop.sync_server(me, target, options=shared):
            pass
    with shop.workload("server") as me, shop.sync_server(me, options=shared) as target:
        with pytest.raises(RuntimeError), shop.sync_server(me, target):
            pass
        with shop.sync_server(me, target, options=shared) as other:
            assert other.endswith(target.rpartition(":")[2])


@pytest.mark.parametrize("fork_support", ["0", "1"])
def test_what_was_carried_across_a_fork_says_so_and_never_hangs(
    shop: Shop, fork_support: str
) -> None:
    # Where gRPC is not told, its own threads crash such a child now and then: see docs/fork.md.
    with program(
        shop,
        CARRIED,
        shop.directory("server"),
        shop.directory("caller"),
        shop.policy,
        GRPC_ENABLE_FORK_SUPPORT=fork_support,
    ) as parent:
        out, _ = parent.communicate(timeout=60)
    said = dict(json.loads(line) for line in out.splitlines())
    assert int(said.pop("parent")) > 0
    for harmless in ("close", "with", "channel close", "aio channel close"):
        assert said.pop(harmless) == "fine", harmless
    assert len(said) == 12
    for name, words in said.items():
        assert words.startswith("StateError: this "), name
        assert "was made before a fork" in words
        assert "after the fork" in words


def test_the_page_shows_the_words_that_come() -> None:
    words = (
        "this Workload was made before a fork, and its threads stayed in the parent. Make the "
        "Workload, its servers and its channels after the fork; see handfast docs fork"
    )
    assert f"pki.errors.StateError: {words}" in PAGE
