"""What a handler of a signal closes while it is closed, or used, by the code that is interrupted.

Python runs handlers of signals between two steps of whatever the main thread does. Here one runs
before each line of the package in turn, in the same thread.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import grpc

import pki
from pki.access.decision_file import DecisionFile
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import SECONDS, Shop, eventually, get_stock

PACKAGE = str(Path(pki.__file__).parent)


def interrupt_each_line(
    make: Callable[[], Any], act: Callable[[Any], object], handler: Callable[[Any], object]
) -> int:
    """Do something with a thing, interrupted before each line in turn; return the lines."""
    line = 0
    while _interrupt(make(), act, handler, line):
        line += 1
    return line


def _interrupt(
    thing: Any, act: Callable[[Any], object], handler: Callable[[Any], object], line: int
) -> bool:
    """Return whether there was such a line."""
    seen: list[str] = []
    errors: list[Exception] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line" and len(seen) <= line:
            seen.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
            if len(seen) > line:
                sys.settrace(None)
                handler(thing)
        return trace

    def run() -> None:
        sys.settrace(trace)
        try:
            act(thing)
        except Exception as error:
            errors.append(error)
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), f"it hangs when it is interrupted at {seen[-1]}"
    for error in errors:
        is_closed = isinstance(error, ValueError) and "closed" in str(error)
        if not (is_closed or isinstance(error, grpc.RpcError)):
            raise error
    return len(seen) > line


def reserve(channel: grpc.Channel) -> None:
    inventory_pb2_grpc.InventoryStub(channel).Reserve(inv.ReserveRequest(), timeout=SECONDS)


def close(thing: Any) -> None:
    thing.close()


def test_a_second_signal_while_the_decision_log_closes_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "decisions"
    made = [0]

    def make() -> DecisionFile:
        made[0] += 1
        file = DecisionFile(
            path, blocks=False, describe_lost=lambda _: "}", count_lost=lambda _: None
        )
        file.add(1.0, f', "n": {made[0]}}}', "", is_warning=False)
        return file

    assert interrupt_each_line(make, close, close) > 10
    written = path.read_text().splitlines()
    assert len(written) == len(set(written)) == made[0], "each line once, and none is lost"


def test_a_second_signal_while_a_workload_closes_does_not_hang(shop: Shop) -> None:
    assert interrupt_each_line(lambda: shop.workload("caller"), close, close) > 10


def test_a_signal_that_closes_a_channel_in_the_midst_of_a_call_does_not_hang(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("caller") as caller,
    ):

        def make() -> grpc.Channel:
            channel = caller.sync_channel(target, peer="server")
            get_stock(channel)
            return channel

        for call in (get_stock, reserve):  # a method that gRPC's channel knows, and a new one
            assert interrupt_each_line(make, call, close) > 10
        assert interrupt_each_line(make, close, close) > 10
        assert eventually(lambda: not caller._channels.connection_states), "all are closed"
