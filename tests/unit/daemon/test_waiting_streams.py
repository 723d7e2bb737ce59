"""Streams that wait for a change: all are woken, and they leave turns for others."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pki.daemon.waiting_streams import WaitingStreams

_LONG_SECONDS = 600.0


def waits(streams: WaitingStreams, number: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(streams.wait(lambda: False, _LONG_SECONDS)) for _ in range(number)]


def test_all_that_wait_are_woken_from_another_thread() -> None:
    async def run() -> None:
        streams = WaitingStreams()
        tasks = waits(streams, 1000)
        await asyncio.sleep(0)
        thread = threading.Thread(target=streams.wake)
        thread.start()
        await asyncio.gather(*tasks)
        thread.join()

    asyncio.run(run())


def test_others_get_turns_before_the_last_of_many_is_woken() -> None:
    async def run() -> None:
        streams = WaitingStreams()
        tasks = waits(streams, 1000)
        await asyncio.sleep(0)
        streams.wake()
        _, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # This is another call's turn.
        assert waiting
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_who_waits_in_vain_goes_on_after_its_time() -> None:
    async def run() -> None:
        await WaitingStreams().wait(lambda: False, 0.01)

    asyncio.run(run())


def test_what_came_before_is_not_waited_for() -> None:
    async def run() -> None:
        await WaitingStreams().wait(lambda: True, _LONG_SECONDS)

    asyncio.run(run())


def test_a_stream_that_ends_while_it_waits_is_forgotten() -> None:
    async def run() -> None:
        streams = WaitingStreams()
        (task,) = waits(streams, 1)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not streams._waiting
        streams.wake()

    asyncio.run(run())
