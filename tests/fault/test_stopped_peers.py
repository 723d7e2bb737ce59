"""A process that stands still (SIGSTOP) while certificates change, and goes on later."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

import pki
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import SECONDS, Shop, eventually, get_stock

ROOT = Path(__file__).resolve().parents[2]
POLICY = ROOT / "services" / "policy.toml"

# A caller of its own process: says after each line that it reads how many calls failed since.
CALLER = """
import sys, threading
import pki
from tests.interop.shop import get_stock

failed = []
with (
    pki.Workload.from_directory(sys.argv[1], policy=sys.argv[2]) as me,
    me.sync_channel(sys.argv[3], peer="inventory") as channel,
):
    done = threading.Event()
    calls = 0
    def call():
        global calls
        while not done.is_set():
            try:
                get_stock(channel)
                calls += 1
            except Exception as error:
                failed.append(repr(error))
    thread = threading.Thread(target=call)
    thread.start()
    for _ in sys.stdin:
        print(calls, len(failed), f"{me.credential.leaf.serial_number:x}", failed[:1], flush=True)
    done.set()
    thread.join()
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    for name in ("inventory", "audit"):
        made.directory(name)
    yield made
    made.ca.close()


@contextmanager
def inventory(shop: Shop) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "services.inventory", f"--credential={shop.home / 'inventory'}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, f"127.0.0.1:{process.stdout.readline().split()[1]}"
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            assert process.wait(SECONDS) == 0


def renew(shop: Shop, name: str) -> int:
    issued = shop.ca.issue(name)
    issued.save(shop.home / name)
    return issued.leaf.serial_number


def seen(channel: Any) -> int:
    good = next(iter(channel.connections.checks.accepted.values()), None)
    return int(good.leaf.serial_number) if good is not None else 0


def test_a_server_that_stands_still_while_both_sides_rotate_comes_back(shop: Shop) -> None:
    with (
        inventory(shop) as (server, address),
        pki.Workload.from_directory(shop.home / "audit", policy=POLICY) as caller,
        caller.sync_channel(address, peer="inventory") as channel,
    ):
        get_stock(channel)
        server.send_signal(signal.SIGSTOP)
        renew(shop, "inventory")
        ours = renew(shop, "audit")
        assert eventually(lambda: caller.credential.leaf.serial_number == ours)
        stub = inventory_pb2_grpc.InventoryStub(channel)
        begun = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetStock(inv.GetStockRequest(sku="tea"), timeout=1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - begun < 3
        server.send_signal(signal.SIGCONT)
        assert get_stock(channel) > 0
        with caller.sync_channel(address, peer="inventory") as fresh:
            assert eventually(lambda: get_stock(fresh) > 0)


def test_a_running_call_ends_well_when_the_server_goes_on_after_the_rotation(shop: Shop) -> None:
    with (
        inventory(shop) as (server, address),
        pki.Workload.from_directory(shop.home / "audit", policy=POLICY) as caller,
        caller.sync_channel(address, peer="inventory") as channel,
    ):
        get_stock(channel)
        stub = inventory_pb2_grpc.InventoryStub(channel)
        server.send_signal(signal.SIGSTOP)
        running = stub.GetStock.future(inv.GetStockRequest(sku="tea"), timeout=SECONDS)
        ours = renew(shop, "audit")
        renew(shop, "inventory")
        assert eventually(lambda: caller.credential.leaf.serial_number == ours)
        time.sleep(0.5)  # of standing still: that is the case
        assert not running.done()
        server.send_signal(signal.SIGCONT)
        assert running.result(SECONDS).quantity > 0


def test_a_caller_that_stands_still_while_both_sides_rotate_fails_no_call(shop: Shop) -> None:
    with (
        inventory(shop) as (_, address),
        subprocess.Popen(
            [sys.executable, "-c", CALLER, str(shop.home / "audit"), str(POLICY), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answered = process.stdin, process.stdout

        def told() -> tuple[int, int, str]:
            asked.write("\n")
            asked.flush()
            calls, failed, serial, *why = answered.readline().split(maxsplit=3)
            assert int(failed) == 0, why
            return int(calls), int(failed), serial

        assert eventually(lambda: told()[0] > 10)
        process.send_signal(signal.SIGSTOP)
        for _ in range(3):
            renew(shop, "inventory")
            ours = renew(shop, "audit")
            time.sleep(0.1)  # of standing still: that is the case
        process.send_signal(signal.SIGCONT)
        assert eventually(lambda: told()[2] == f"{ours:x}")
        at = told()[0]
        assert eventually(lambda: told()[0] > at + 10)
        process.stdin.close()
        assert process.wait(SECONDS) == 0
