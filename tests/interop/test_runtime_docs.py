"""The examples of docs/runtime.md, run as they stand there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

import pki
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import SECONDS, Shop

HOUR = timedelta(hours=1)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "runtime.md"


def example(heading: str) -> dict[str, Any]:
    """Run the first block of Python under a heading, and give what it defines."""
    section = PAGE.read_text().partition(f"# {heading}\n")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    defined: dict[str, Any] = {}
    exec(compile(found[1], PAGE.name, "exec"), defined)
    return defined


def test_a_stream_is_taken_up_again_when_a_certificate_has_ended(shop: Shop) -> None:
    watch: Callable[..., Any] = example("Reopening a stream")["watch_stock"]
    opened = []

    def request() -> inv.WatchStockRequest:
        opened.append(1)
        return inv.WatchStockRequest()

    async def play(caller: pki.Workload, address: str) -> None:
        async with caller.channel(address, peer="server") as channel:
            messages = watch(inventory_pb2_grpc.InventoryStub(channel), request)
            assert (await anext(messages)).quantity > 0
            assert len(opened) == 1
            # The hour of the leaf that the connection began with passes; another has come.
            shop.ca.issue("caller", lifetime=5 * HOUR).save(shop.home / "caller")
            shop.ca.issue("server", lifetime=5 * HOUR).save(shop.home / "server")
            await asyncio.to_thread(caller.reload)
            shop.clock.move(hours=1, seconds=2)
            message = await asyncio.wait_for(anext(messages), SECONDS)
            assert message.quantity > 0
            assert len(opened) >= 2
            await messages.aclose()

    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller", shifted=True) as caller,
    ):
        asyncio.run(play(caller, address))


def test_other_errors_are_not_taken_up_again(shop: Shop) -> None:
    watch: Callable[..., Any] = example("Reopening a stream")["watch_stock"]

    async def play(caller: pki.Workload, address: str) -> None:
        async with caller.channel(address, peer="server") as channel:
            messages = watch(inventory_pb2_grpc.InventoryStub(channel), inv.WatchStockRequest)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await anext(messages)
            assert pki.reason_of(caught.value) == "NO_ROLE"

    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("stranger") as caller,
    ):
        asyncio.run(play(caller, address))
