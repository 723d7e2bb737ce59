"""A process that is out of threads: calls end with an error of theirs, and go on afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from pki.background import _Queue, defer
from pki.errors import StateError
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import SECONDS, Shop, eventually, free_port, get_stock, soon

_REAL = threading.Thread.start


def none_left_but(most: int) -> Callable[[threading.Thread], None]:
    """Stand in for a system that has room for so many more threads of ours."""
    left = iter(range(most))

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("handfast-") and next(left, None) is None:
            raise RuntimeError("can't start new thread")
        _REAL(thread)

    return start


@pytest.mark.parametrize("room", range(8))
def test_a_workload_that_has_no_room_for_its_threads_says_so_and_leaves_none(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    shop.directory("server")
    defer(lambda: None)
    before = set(threading.enumerate())
    monkeypatch.setattr(threading.Thread, "start", none_left_but(room))
    with pytest.raises(StateError, match="Allow this process more threads"):
        shop.workload("server")
    monkeypatch.undo()
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_no_port_is_opened_whose_certificate_nobody_would_renew(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop.workload("server") as me:
        server = me.sync_server()
        monkeypatch.setattr(threading.Thread, "start", none_left_but(0))
        for _ in range(2):
            with pytest.raises(StateError, match="Allow this process more threads"):
                server.add_secure_port("127.0.0.1:0")
        monkeypatch.undo()
        assert server.add_secure_port("127.0.0.1:0")


def test_no_policy_is_taken_that_nobody_follows(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop.workload("caller", policy=None) as me:
        for room in (0, 0):
            monkeypatch.setattr(threading.Thread, "start", none_left_but(room))
            with pytest.raises(StateError, match="Allow this process more threads"):
                me.sync_server(policy=shop.policy)
        monkeypatch.undo()
        me.sync_server(policy=shop.policy)


def test_what_is_told_while_no_thread_can_be_begun_is_told_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[int] = []
    present = _Queue()
    monkeypatch.setattr(threading.Thread, "start", none_left_but(0))
    with pytest.raises(RuntimeError):
        present.put(lambda: told.append(1))
    monkeypatch.undo()
    present.put(lambda: told.append(2))
    present.flush(SECONDS)
    assert told == [1, 2]


def test_calls_end_with_an_error_of_theirs_while_no_thread_can_be_begun(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the system's answer is stood in for: to use up its threads would stop the test too."""

    def none_left(thread: threading.Thread) -> None:
        if thread.name.startswith("handfast-"):
            raise RuntimeError("can't start new thread")
        _REAL(thread)

    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
        caller.sync_channel(f"127.0.0.1:{free_port()}", peer="server") as nowhere,
    ):
        monkeypatch.setattr(threading.Thread, "start", none_left)
        stub = inventory_pb2_grpc.InventoryStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        details = caught.value.details() or ""
        assert "no thread could be started to verify it" in details
        assert "was not resolved" not in details
        stream: Any = stub.WatchStock(inv.WatchStockRequest())
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.RpcError):
            get_stock(nowhere)
        monkeypatch.undo()
        assert soon(channel, "ALLOWED")
