"""Servers of both kinds write their decisions to a file of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import pki
from pki.errors import InputError, StateError
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import Shop, eventually, get_stock, reason, refused, watch

KINDS = pytest.mark.parametrize("kind", ["aio", "sync"])


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, "server", "caller", "stranger")


def reasons(path: Path) -> Counter[str]:
    # A reader may see a part of what is being written.
    whole = path.read_text().rpartition("\n")[0]
    return Counter(json.loads(line)["reason"] for line in whole.splitlines())


@KINDS
def test_every_call_has_its_line_soon_and_all_are_there_at_the_end(shop: Shop, kind: str) -> None:
    path = shop.home / "decisions.jsonl"
    with shop.workload("server") as me:
        with (
            shop.server(kind, me, decision_log=pki.DecisionLogFile(path)) as target,
            shop.workload("caller") as caller,
            shop.workload("stranger") as stranger,
            caller.sync_channel(target, peer="server") as channel,
            stranger.sync_channel(target, peer="server") as strange,
        ):
            for _ in range(20):
                get_stock(channel)
            assert eventually(lambda: reasons(path) == {"ALLOWED": 20})
            assert refused(lambda: get_stock(strange)) == "NO_ROLE"
            stream = watch(channel)
            get_stock(channel)
            stream.cancel()
    assert reasons(path) == {"ALLOWED": 22, "NO_ROLE": 1}


@KINDS
def test_only_what_the_word_says_is_written(shop: Shop, kind: str) -> None:
    path = shop.home / "decisions.jsonl"
    log = pki.DecisionLogFile(str(path), when="on-deny", when_full=pki.WhenFull.BLOCK)
    with (
        shop.workload("server") as me,
        shop.server(kind, me, decision_log=log) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        get_stock(channel)
        stub = inventory_pb2_grpc.InventoryStub(channel)
        shop.write_policy(shop.policy.read_text().replace("/shop.v1.Inventory/*", "/none.v1.No/*"))
        assert eventually(lambda: reason_of_call(stub) == "METHOD_NOT_GRANTED")
        assert eventually(lambda: reasons(path) == {"METHOD_NOT_GRANTED": 1})


def reason_of_call(stub: inventory_pb2_grpc.InventoryStub) -> str:
    try:
        stub.GetStock(inv.GetStockRequest(sku="tea"))
    except Exception as error:
        return reason(error)  # type: ignore[arg-type]
    return "ALLOWED"


def test_a_setting_that_means_nothing_is_refused(shop: Shop) -> None:
    with shop.workload("server") as me:
        with pytest.raises(InputError, match="when_full 'wait' is unknown"):
            me.sync_server(decision_log=pki.DecisionLogFile("log", when_full="wait"))
        with pytest.raises(InputError, match="when 'always' is unknown"):
            me.sync_server(decision_log=pki.DecisionLogFile("log", when="always"))
        with pytest.raises(StateError, match="can't be written"):
            me.sync_server(decision_log=pki.DecisionLogFile(shop.home / "no" / "log"))


PROGRAM = """\
import signal, sys, threading
import pki
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import SyncInventory
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
with pki.Workload.from_directory(sys.argv[1], policy=sys.argv[2]) as me:
    server = me.sync_server(decision_log=pki.DecisionLogFile(sys.argv[3]))
    inventory_pb2_grpc.add_InventoryServicer_to_server(SyncInventory(), server)
    print(server.add_secure_port("127.0.0.1:0"), flush=True)
    server.start()
    ended.wait()
    server.stop(1).wait()
"""


def test_all_lines_are_there_after_sigterm(shop: Shop) -> None:
    path = shop.home / "decisions.jsonl"
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, shop.directory("server"), shop.policy, path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:
        assert process.stdout is not None
        target = f"127.0.0.1:{int(process.stdout.readline())}"
        with (
            shop.workload("caller") as caller,
            caller.sync_channel(target, peer="server") as channel,
        ):
            for _ in range(300):
                get_stock(channel)
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert reasons(path) == {"ALLOWED": 300}
