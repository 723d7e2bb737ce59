"""A path that is not UTF-8 in the very moment in which an asyncio server is stopped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pki.rpc.server import dispatcher_aio
from tests.fault.test_failed_servers import call_with_path
from tests.interop.shop import SECONDS, Shop


@pytest.mark.parametrize("before", ["_recover", "_dispatch", "_refuse"])
def test_a_server_that_is_stopped_while_it_recovers_from_a_path_stops_well(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """Only the step is held up until the server has stopped; without the mend the process died."""
    with shop.workload("server") as me:
        stranger = shop.directory("stranger")

        async def run() -> None:
            server = me.server()
            port = server.add_secure_port("127.0.0.1:0")
            await server.start()
            stopped = asyncio.Event()
            real: Any = getattr(dispatcher_aio._Server, before)

            async def held_up(front: Any, *args: Any) -> None:
                stopping = asyncio.ensure_future(server.stop(None))
                stopping.add_done_callback(lambda _: stopped.set())
                await asyncio.wait_for(stopped.wait(), SECONDS)
                await real(front, *args)

            monkeypatch.setattr(dispatcher_aio._Server, before, held_up)
            address = f"127.0.0.1:{port}"
            await asyncio.to_thread(call_with_path, address, stranger, b"/\xff")
            await asyncio.wait_for(stopped.wait(), SECONDS)
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), SECONDS)

        asyncio.run(run())
