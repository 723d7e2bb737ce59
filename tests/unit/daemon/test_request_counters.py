"""Requests are counted when they end, by operation and result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pki.daemon.request_counters import RequestCounters
from pki.error_info import DETAILS_KEY, write_error_info


class Context:
    """What a handler's context knows of the end of its call."""

    def __init__(self, reason: str = "") -> None:
        details = write_error_info(reason, (), code=7, message="no", retry_after=None)
        self._metadata = ((DETAILS_KEY, details),) if reason else None

    def trailing_metadata(self) -> Any:
        return self._metadata


class Handler:
    async def Renew(self, request: str, context: Context) -> str:
        if request == "wait":
            await asyncio.sleep(60)
        if request == "fail":
            raise RuntimeError
        return request

    async def WatchTrust(self, request: str, context: Context) -> AsyncIterator[str]:
        yield "first"
        if request == "fail":
            raise RuntimeError
        yield "second"

    async def answer(self, request: str, context: Context) -> str:
        """No method of the service."""
        return request


@pytest.fixture
def counters() -> RequestCounters:
    return RequestCounters()


@pytest.fixture
def handler(counters: RequestCounters) -> Handler:
    return counters.watched(Handler())


def test_an_answer_counts_as_ok_and_comes_through(
    counters: RequestCounters, handler: Handler
) -> None:
    assert asyncio.run(handler.Renew("x", Context())) == "x"
    assert asyncio.run(handler.answer("x", Context())) == "x"
    assert counters.requests() == {("Renew", "OK"): 1}


@pytest.mark.parametrize(
    ("reason", "counted"), [("NOT_RENEWABLE", "NOT_RENEWABLE"), ("", "INTERNAL")]
)
def test_a_refusal_counts_by_its_reason(
    counters: RequestCounters, handler: Handler, reason: str, counted: str
) -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(handler.Renew("fail", Context(reason)))
    assert counters.requests() == {("Renew", counted): 1}


def test_a_caller_that_goes_counts_as_cancelled(
    counters: RequestCounters, handler: Handler
) -> None:
    async def go() -> None:
        call = asyncio.ensure_future(handler.Renew("wait", Context()))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    asyncio.run(go())
    assert counters.requests() == {("Renew", "CANCELLED"): 1}


@pytest.mark.parametrize(("request_", "result"), [("", "OK"), ("fail", "NOT_FOUND")])
def test_followers_are_counted_while_they_follow(
    counters: RequestCounters, handler: Handler, request_: str, result: str
) -> None:
    async def follow() -> None:
        async for _ in handler.WatchTrust(request_, Context("NOT_FOUND")):
            assert counters.followers == 1

    if result == "OK":
        asyncio.run(follow())
    else:
        with pytest.raises(RuntimeError):
            asyncio.run(follow())
    assert counters.followers == 0
    assert counters.requests() == {("WatchTrust", result): 1}


def test_a_follower_that_goes_in_the_middle_is_no_follower_any_more(
    counters: RequestCounters, handler: Handler
) -> None:
    async def go() -> None:
        stream: Any = handler.WatchTrust("", Context())
        assert await anext(stream) == "first"
        await stream.aclose()

    asyncio.run(go())
    assert counters.followers == 0
    assert counters.requests() == {("WatchTrust", "CANCELLED"): 1}
