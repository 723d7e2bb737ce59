"""The reference services and the demo, run as a user runs them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import pki
from pki.authority import Authority
from services._proto.shop.v1 import (
    inventory_pb2,
    inventory_pb2_grpc,
    payments_pb2,
    payments_pb2_grpc,
)
from services.watching import watch_stock
from tests.interop.shop import SECONDS, eventually, free_port

pytestmark = pytest.mark.documents

ROOT = Path(__file__).resolve().parents[2]
POLICY = ROOT / "services" / "policy.toml"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with Authority.create(tmp_path / "ca", "shop.internal") as ca:
        for name in ("inventory", "payments", "orders", "audit"):
            ca.issue(name).save(tmp_path / name)
    return tmp_path


def start(home: Path, name: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", f"services.{name}", f"--credential={home / name}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[0] == "READY"
    return process, f"127.0.0.1:{words[1]}"


def stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    with process:
        return process.wait(SECONDS)


def test_the_demo_comes_out_as_the_policy_says_and_leaves_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "services.demo", "--dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"40 rows, 40 as the policy says, 0 otherwise", done.stdout)
    for word in (
        "CERTIFICATE_REVOKED",
        "NO_ROLE",
        "SERVER_ROLE_MISSING",
        "METHOD_NOT_GRANTED",
        "SERVER_CERTIFICATE_REJECTED",
        "CREDENTIAL_ENDED",
        "rotation 3",
        "PROOF_REFUSED",
        "RENEWED",
    ):
        assert word in done.stdout
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False)
    assert str(folder) not in running.stdout
    again = subprocess.run(
        [sys.executable, "-m", "services.demo", "--dir", str(ROOT / "docs")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert again.returncode == 1
    assert "choose another" in again.stderr


def test_a_service_shows_prometheus_what_it_decided(home: Path) -> None:
    at = f"127.0.0.1:{free_port()}"
    process, target = start(home, "inventory", f"--policy={POLICY}", f"--metrics={at}")
    with (
        pki.Workload.from_directory(home / "audit", policy=POLICY) as me,
        me.sync_channel(target, peer="inventory") as channel,
    ):
        stub = inventory_pb2_grpc.InventoryStub(channel)
        for _ in range(3):
            stub.GetStock(inventory_pb2.GetStockRequest(sku="tea"), timeout=SECONDS)
        with urllib.request.urlopen(f"http://{at}/metrics", timeout=SECONDS) as page:
            told = page.read().decode()
    assert stop(process) == 0
    decisions = [line for line in told.splitlines() if line.startswith("handfast_decisions_total")]
    (counted,) = [line for line in decisions if "GetStock" in line and "ALLOWED" in line]
    assert counted.endswith(" 3.0")


def test_the_stock_is_watched_on_when_the_service_is_another_process(home: Path) -> None:
    at = f"127.0.0.1:{free_port()}"
    reasons: list[str] = []

    async def play() -> None:
        process, target = await asyncio.to_thread(start, home, "inventory", f"--listen={at}")
        async with (
            pki.Workload.from_directory(home / "audit", policy=POLICY) as me,
            me.channel(target, peer="inventory") as channel,
        ):
            stub: Any = inventory_pb2_grpc.InventoryStub(channel)
            stock = watch_stock(stub, "tea", reasons.append)
            assert await anext(stock) == 1000
            process.kill()
            await asyncio.to_thread(process.communicate)
            following, _ = await asyncio.to_thread(start, home, "inventory", f"--listen={at}")
            assert await asyncio.wait_for(anext(stock), SECONDS) == 1000
            assert reasons
            await stock.aclose()
        assert await asyncio.to_thread(stop, following) == 0

    asyncio.run(play())


def test_sigterm_lets_a_running_call_finish(home: Path) -> None:
    process, target = start(home, "payments", f"--policy={POLICY}")
    with (
        pki.Workload.from_directory(home / "orders", policy=POLICY) as me,
        me.sync_channel(target, peer="payments") as channel,
    ):
        asked: list[bool] = []

        def orders() -> Iterator[payments_pb2.SettleRequest]:
            yield payments_pb2.SettleRequest(order_id="1", amount_minor=100, currency_code="EUR")
            while not asked:
                time.sleep(0.02)
            yield payments_pb2.SettleRequest(order_id="2", amount_minor=250, currency_code="EUR")

        answers = payments_pb2_grpc.PaymentsStub(channel).Settle(orders(), timeout=SECONDS)
        assert next(answers).receipt == "1.00 EUR from orders"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        asked.append(True)
        assert next(answers).receipt == "2.50 EUR from orders"
    with process:
        assert process.wait(SECONDS) == 0


def takes_connections(target: str) -> bool:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), SECONDS).close()
    except (ConnectionRefusedError, ConnectionResetError):
        # Reset: the port was closed while the connection waited to be accepted.
        return False
    return True


@pytest.mark.parametrize("name", ["payments", "inventory"])
def test_a_second_sigterm_ends_at_once(home: Path, name: str) -> None:
    process, target = start(home, name, f"--policy={POLICY}")
    with (
        pki.Workload.from_directory(home / "audit", policy=POLICY) as me,
        pki.Workload.from_directory(home / "orders", policy=POLICY) as orders,
        me.sync_channel(target, peer="inventory") as channel,
        orders.sync_channel(target, peer="payments") as settling,
    ):
        held: Iterator[object]
        if name == "inventory":
            stub = inventory_pb2_grpc.InventoryStub(channel)
            held = stub.WatchStock(inventory_pb2.WatchStockRequest(sku="tea"))
        else:
            ended: list[bool] = []

            def hold() -> Iterator[payments_pb2.SettleRequest]:
                yield payments_pb2.SettleRequest(order_id="1")
                while not ended:
                    time.sleep(0.02)

            held = payments_pb2_grpc.PaymentsStub(settling).Settle(hold())
        next(held)
        process.send_signal(signal.SIGTERM)
        # Two signals that arrive before a busy process handles one are one.
        port_is_closed = eventually(lambda: not takes_connections(target), SECONDS)
        process.send_signal(signal.SIGTERM)
        with process:
            # A process that let its calls finish would exit with 0.
            code = process.wait(SECONDS)
        assert (port_is_closed, code) == (True, 1)
        if name == "payments":
            ended.append(True)
        with pytest.raises(grpc.RpcError):
            next(held)


def test_a_service_does_not_start_without_its_policy_or_credential(home: Path) -> None:
    for arguments in (
        [f"--credential={home / 'inventory'}", "--policy=none.toml"],
        [f"--credential={home / 'none'}", f"--policy={POLICY}"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "services.inventory", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=dict(os.environ),
        )
        assert done.returncode != 0
        assert "READY" not in done.stdout
