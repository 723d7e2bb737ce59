"""Streams that begin at once: some at a time, and none of them for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import grpc
import pytest

from pki.daemon.limits import stream_starts
from pki.daemon.limits.stream_starts import StreamStarts, has_begun

WATCH, OTHER = "/handfast.test/Watch", "/handfast.test/Other"
_AT_ONCE = stream_starts._AT_ONCE


class Bench:
    """Streams of a handler; they begin when they are told to, and then run until they end."""

    def __init__(self) -> None:
        self.starts = StreamStarts([WATCH])
        self.beginning = self.most = self.begun = 0
        self.may_begin, self.may_end = asyncio.Event(), asyncio.Event()
        self._handler: Any = grpc.stream_stream_rpc_method_handler(self._watch)

    async def _watch(self, _requests: Any, _context: Any) -> AsyncIterator[str]:
        self.beginning += 1
        self.most = max(self.most, self.beginning)
        try:
            await self.may_begin.wait()
        finally:
            self.beginning -= 1
        yield "begun"
        has_begun()
        self.begun += 1
        await self.may_end.wait()
        yield "ended"

    async def handler(self, method: str) -> Any:
        """Return the handler of a method, as gRPC gets it."""

        async def found(_: grpc.HandlerCallDetails) -> Any:
            return self._handler

        details: Any = type("Details", (), {"method": method})
        return await self.starts.intercept_service(found, details)

    async def run(self, method: str = WATCH) -> list[str]:
        """Run a stream until its end."""
        handler = await self.handler(method)
        async with aclosing(handler.stream_stream(None, None)) as items:
            return [item async for item in items]

    def begin(self, number: int, method: str = WATCH) -> list[asyncio.Task[list[str]]]:
        """Begin so many streams."""
        return [asyncio.create_task(self.run(method)) for _ in range(number)]

    @property
    def free(self) -> int:
        """How many turns are free."""
        return self.starts._turns._value


def run(test: Callable[[Bench], Awaitable[None]]) -> None:
    async def run_with_timeout() -> None:
        await asyncio.wait_for(test(Bench()), 30)

    asyncio.run(run_with_timeout())


async def until(is_true: Callable[[], bool]) -> None:
    while not is_true():  # noqa: ASYNC110 - what it waits for are turns of the loop
        await asyncio.sleep(0)


def test_some_begin_at_a_time_and_all_of_them_run() -> None:
    async def test(bench: Bench) -> None:
        streams = bench.begin(100)
        await until(lambda: bench.beginning == _AT_ONCE)
        bench.may_begin.set()
        # Though none of them has ended.
        await until(lambda: bench.begun == 100)
        assert bench.most == _AT_ONCE
        assert bench.free == _AT_ONCE
        bench.may_end.set()
        assert await asyncio.gather(*streams) == [["begun", "ended"]] * 100

    run(test)


def test_those_that_read_nothing_hold_up_the_others_for_a_moment_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_starts, "_MOST_SECONDS", 0.01)

    async def test(bench: Bench) -> None:
        streams = bench.begin(10 * _AT_ONCE)
        await until(lambda: bench.beginning == 10 * _AT_ONCE)
        bench.may_begin.set()
        bench.may_end.set()
        await asyncio.gather(*streams)
        # Each turn was given back once, and not once more by those that began after all.
        assert bench.free == _AT_ONCE

    run(test)


def test_streams_that_are_cancelled_give_their_turns_back() -> None:
    async def test(bench: Bench) -> None:
        streams = bench.begin(3 * _AT_ONCE)
        await until(lambda: bench.beginning == _AT_ONCE)
        for stream in streams:
            stream.cancel()
        for stream in streams:
            with suppress(asyncio.CancelledError):
                await stream
        assert bench.free == _AT_ONCE

    run(test)


def test_a_handler_that_fails_gives_its_turn_back() -> None:
    async def test(bench: Bench) -> None:
        async def fail(_requests: Any, _context: Any) -> AsyncIterator[str]:
            raise KeyError
            yield ""

        bench._handler = grpc.stream_stream_rpc_method_handler(fail)
        for _ in range(2 * _AT_ONCE):
            with pytest.raises(KeyError):
                await bench.run()
        assert bench.free == _AT_ONCE

    run(test)


def test_other_calls_wait_for_nothing() -> None:
    async def test(bench: Bench) -> None:
        waiting = bench.begin(2 * _AT_ONCE)
        await until(lambda: bench.beginning == _AT_ONCE)
        assert await bench.handler(OTHER) is bench._handler
        others = bench.begin(5, OTHER)
        await until(lambda: bench.beginning == _AT_ONCE + 5)
        bench.may_begin.set()
        bench.may_end.set()
        await asyncio.gather(*waiting, *others)

    run(test)


def test_a_handler_is_wrapped_once() -> None:
    async def test(bench: Bench) -> None:
        assert await bench.handler(WATCH) is await bench.handler(WATCH)

    run(test)
