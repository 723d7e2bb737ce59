"""A process that is out of threads: calls end with an error of theirs, and go on afterwards."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest

from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import Shop, free_port, get_stock, soon

_REAL = threading.Thread.start


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
        stream: Any = stub.WatchStock(inv.WatchStockRequest())
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.RpcError):
            get_stock(nowhere)
        monkeypatch.undo()
        assert soon(channel, "ALLOWED")
