"""Streams and futures of synchronous channels, made before the server was seen."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

import pki
from pki.rpc.client.failure_explainer import FailureExplainer
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import SECONDS, Shop, eventually, free_port, reason

ASKED, WATCHED = inv.GetStockRequest(), inv.WatchStockRequest()


@contextmanager
def stub_to(shop: Shop, address: str) -> Iterator[Any]:
    with (
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        yield inventory_pb2_grpc.InventoryStub(channel)


@contextmanager
def silent() -> Iterator[str]:
    """Return the address of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_stream_is_given_back_at_once_and_read_when_the_server_was_seen(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        stub_to(shop, address) as stub,
    ):
        over = threading.Event()
        stream = stub.WatchStock(WATCHED, timeout=SECONDS)
        assert stream.add_callback(over.set)
        assert iter(stream) is stream
        assert stream.is_active()
        assert stream.running()
        assert not stream.done()
        assert 0 < stream.time_remaining() <= SECONDS
        assert next(stream).quantity > 0
        assert dict(stream.initial_metadata()) == {}
        assert stream.cancel()
        assert over.wait(SECONDS)
        assert stream.cancelled()
        assert stream.code() is grpc.StatusCode.CANCELLED
        assert not stream.add_callback(over.set), "it has ended"


def test_a_future_answers_once_the_server_was_seen(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        stub_to(shop, address) as stub,
    ):
        told: list[object] = []
        future = stub.GetStock.future(ASKED)
        future.add_done_callback(told.append)
        assert future.result(SECONDS).quantity > 0
        assert future.exception(SECONDS) is None
        assert future.traceback(SECONDS) is None
        assert future.done()
        assert not future.cancelled()
        assert future.code() is grpc.StatusCode.OK
        assert future.details() == ""
        assert dict(future.trailing_metadata()) == {}
        assert future.time_remaining() is None
        assert eventually(lambda: told == [future])


def test_what_waits_can_be_cancelled(shop: Shop) -> None:
    with silent() as address, stub_to(shop, address) as stub:
        told: list[object] = []
        future, stream = stub.GetStock.future(ASKED), stub.WatchStock(WATCHED)
        future.add_done_callback(told.append)
        for call in (future, stream):
            assert not call.cancelled()
            assert call.cancel()
            assert not call.cancel(), "it was"
            assert call.cancelled()
            assert call.done()
            assert not call.is_active()
            assert call.code() is grpc.StatusCode.CANCELLED
            assert not call.add_callback(lambda: None)
        assert told == [future]
        for ask in (future.result, future.exception, future.traceback):
            with pytest.raises(grpc.FutureCancelledError):
                ask()
        with pytest.raises(grpc.RpcError):
            next(stream)


def test_what_was_cancelled_while_it_waited_calls_nobody(shop: Shop) -> None:
    port = free_port()
    with stub_to(shop, f"127.0.0.1:{port}") as stub:
        future = stub.GetStock.future(ASKED, wait_for_ready=True)
        stream = stub.WatchStock(WATCHED, wait_for_ready=True)
        assert future.cancel()
        assert stream.cancel()
        with (
            shop.workload("server") as me,
            shop.sync_server(me, address=f"127.0.0.1:{port}"),
        ):
            assert stub.GetStock(ASKED, wait_for_ready=True, timeout=SECONDS).quantity > 0
            assert future.cancelled()
            assert stream.code() is grpc.StatusCode.CANCELLED
            assert future.done()


def test_nobody_at_the_address_is_told_when_the_call_is_read(shop: Shop) -> None:
    with stub_to(shop, f"127.0.0.1:{free_port()}") as stub:
        told: list[object] = []
        future, stream = stub.GetStock.future(ASKED), stub.WatchStock(WATCHED)
        future.add_done_callback(told.append)
        with pytest.raises(grpc.RpcError) as caught:
            future.result()
        assert reason(caught.value) == "SERVER_UNVERIFIED"
        assert future.exception() is caught.value
        assert future.traceback() is caught.value.__traceback__
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert reason(caught.value) == "SERVER_UNVERIFIED"
        assert stream.code() is grpc.StatusCode.UNAVAILABLE
        assert "could not verify" in stream.details()
        assert "could not verify" in stream.debug_error_string()
        assert stream.initial_metadata() == ()
        assert dict(stream.trailing_metadata())["grpc-status-details-bin"]
        assert stream.done()
        assert not stream.cancelled()
        assert told == [future]


def test_a_patient_future_waits_for_its_server(shop: Shop) -> None:
    port = free_port()
    with stub_to(shop, f"127.0.0.1:{port}") as stub:
        future = stub.GetStock.future(ASKED, wait_for_ready=True)
        with pytest.raises(grpc.FutureTimeoutError):
            future.result(0.01)
        with (
            shop.workload("server") as me,
            shop.sync_server(me, address=f"127.0.0.1:{port}"),
        ):
            assert future.result(SECONDS).quantity > 0


def test_a_deadline_counts_while_a_call_waits(shop: Shop) -> None:
    with silent() as address, stub_to(shop, address) as stub:
        begun = time.monotonic()
        stream = stub.WatchStock(WATCHED, timeout=0.3)
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - begun < 4, "the look itself would take five seconds"


def test_a_call_on_a_closed_channel_fails_at_once_as_with_grpc(shop: Shop) -> None:
    with shop.workload("caller") as caller:
        channel = caller.sync_channel(f"127.0.0.1:{free_port()}", peer="server")
        channel.close()
        with pytest.raises(ValueError, match="closed"):
            inventory_pb2_grpc.InventoryStub(channel).WatchStock(WATCHED)


def test_a_request_that_cant_be_sent_is_told_as_grpc_tells_it(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        stub_to(shop, address) as stub,
    ):
        stream = stub.WatchStock("no message")
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() is grpc.StatusCode.INTERNAL


def test_finding_out_why_takes_no_longer_than_the_call_has(shop: Shop) -> None:
    hanging = threading.Event()
    explainer = FailureExplainer(lambda: str(hanging.wait(SECONDS)))
    begun = time.monotonic()
    for remaining in (0.05, 0.0, -1.0):
        assert explainer.explain(remaining) == ""
    hanging.set()
    assert time.monotonic() - begun < 4, "without a deadline each would wait 1.5 s"
    assert eventually(lambda: explainer.explain(0.0) == "True")


def test_a_workload_that_was_closed_ends_what_waits(shop: Shop) -> None:
    with silent() as address:
        caller = pki.Workload.from_directory(shop.directory("caller"), policy=shop.policy)
        with caller:
            channel = caller.sync_channel(address, peer="server")
            stream = inventory_pb2_grpc.InventoryStub(channel).WatchStock(WATCHED)
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert reason(caught.value) == "SERVER_UNVERIFIED"
        channel.close()
