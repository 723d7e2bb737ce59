"""More renewals than the CA can answer in time: whose turn comes, and who is sent away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from pki.daemon.limits.renewal_queue import ComeBackError, RenewalQueue

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Bench:
    """A queue with a clock of its own, and renewals that end when they are told to."""

    def __init__(self, places: int = 1) -> None:
        self.seconds = 1000.0
        self.queue = RenewalQueue(places, lambda: NOW, lambda: self.seconds)
        self.taken_up: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def begin(
        self,
        name: str,
        ends_in: timedelta = HOUR,
        time_remaining: Callable[[], float | None] = lambda: 15.0,
    ) -> asyncio.Task[None]:
        """Begin a renewal; its certificate ends so soon."""
        self._ends[name] = asyncio.Event()

        async def renew() -> None:
            async with self.queue.turn(NOW + ends_in, time_remaining):
                self.taken_up.append(name)
                await self._ends[name].wait()

        task = asyncio.create_task(renew())
        await _turns()
        return task

    async def end(self, name: str, after: float = 0.01) -> None:
        """End a renewal that was taken up, so many seconds later."""
        self.seconds += after
        self._ends[name].set()
        await _turns()


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def run_with_timeout() -> None:
        await asyncio.wait_for(test(), 30)

    asyncio.run(run_with_timeout())


def test_as_many_are_taken_up_at_once_as_there_are_places() -> None:
    async def test() -> None:
        bench = Bench(places=2)
        for name in "abc":
            await bench.begin(name)
        assert bench.taken_up == ["a", "b"]
        assert len(bench.queue) == 1
        await bench.end("a")
        assert bench.taken_up == ["a", "b", "c"]
        assert len(bench.queue) == 0

    run(test)


def test_the_certificate_that_ends_first_is_next() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.begin("running")
        for name, hours in (("later", 3), ("soon", 1), ("middle", 2), ("as soon", 1)):
            await bench.begin(name, timedelta(hours=hours))
        for name in ("running", "soon", "as soon", "middle"):
            await bench.end(name)
        assert bench.taken_up == ["running", "soon", "as soon", "middle", "later"]

    run(test)


def test_who_would_wait_too_long_is_told_when_to_come_back() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.begin("running")
        # By the first estimate of 10 ms, five seconds are enough for 500.
        waiting = [await bench.begin(f"w{number}") for number in range(500)]
        first, second = [await bench.begin(name) for name in ("one more", "another")]
        pauses = []
        for task in (first, second):
            with pytest.raises(ComeBackError, match="come back in") as caught:
                await task
            pauses.append(caught.value.retry_after)
        assert 5.0 < pauses[0] < pauses[1] < 5.1
        assert bench.queue.sent_away == 2
        assert not any(task.done() for task in waiting)
        await _cancel(waiting)

    run(test)


def test_one_that_ends_sooner_takes_the_place_of_the_one_that_ends_last() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.begin("running")
        waiting = [await bench.begin(f"w{number}", 2 * HOUR) for number in range(500)]
        urgent = await bench.begin("urgent", timedelta(minutes=3))
        with pytest.raises(ComeBackError):
            await waiting[-1]
        await bench.end("running")
        assert bench.taken_up == ["running", "urgent"]
        await _cancel([*waiting, urgent])

    run(test)


def test_nobody_is_told_to_come_back_after_the_end_of_its_certificate() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.begin("running")
        waiting = [await bench.begin(f"w{n}", timedelta(seconds=1)) for n in range(500)]
        late = await bench.begin("late", timedelta(seconds=8))
        with pytest.raises(ComeBackError) as caught:
            await late
        assert caught.value.retry_after == pytest.approx(2.0)
        await _cancel(waiting)

    run(test)


def test_a_call_that_has_less_time_waits_for_less() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.begin("running")
        waiting = [await bench.begin(f"w{number}") for number in range(100)]
        # A second of work waits before it, and half of its own time is a tenth of one.
        short = await bench.begin("short", 2 * HOUR, lambda: 0.2)
        with pytest.raises(ComeBackError):
            await short
        endless = await bench.begin("endless", 2 * HOUR, lambda: None)
        assert not endless.done()
        await _cancel([*waiting, endless])

    run(test)


def test_nothing_is_done_for_a_call_that_has_ended() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.begin("running")
        remaining = 15.0
        gone = await bench.begin("gone", time_remaining=lambda: remaining)
        cancelled = await bench.begin("cancelled")
        await bench.begin("waiting")
        cancelled.cancel()
        await _turns()
        remaining = 0.0
        await bench.end("running")
        assert bench.taken_up == ["running", "waiting"]
        with pytest.raises(ComeBackError):
            await gone
        assert cancelled.cancelled()

    run(test)


def test_a_place_that_was_given_to_a_call_that_ends_at_that_moment_is_passed_on() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.begin("running")
        next_one = await bench.begin("next")
        await bench.begin("after it")
        # Both within one turn of the loop: its place comes, and it is cancelled.
        bench._ends["running"].set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        next_one.cancel()
        await _turns()
        assert next_one.cancelled()
        assert bench.taken_up[-1] == "after it"
        await bench.end("after it")
        last = await bench.begin("last")
        assert bench.taken_up[-1] == "last"
        last.cancel()

    run(test)


def test_a_renewal_that_fails_gives_its_place_back() -> None:
    async def test() -> None:
        queue = RenewalQueue(1, lambda: NOW)
        for _ in range(3):
            with pytest.raises(KeyError):
                async with queue.turn(NOW + HOUR, lambda: None):
                    raise KeyError
        async with queue.turn(NOW + HOUR, lambda: None):
            pass

    run(test)


@pytest.mark.parametrize(("each", "fitting"), [(0.05, 100), (0.002, 2500)])
def test_how_many_wait_depends_on_how_long_each_takes(each: float, fitting: int) -> None:
    async def test() -> None:
        bench = Bench()
        names = [f"past {number}" for number in range(201)]
        await bench.begin(names[0])
        for before, name in pairwise(names):
            await bench.begin(name)
            await bench.end(before, each)
        waiting = [await bench.begin(f"w{number}", 2 * HOUR) for number in range(fitting * 2)]
        assert len(bench.queue) == pytest.approx(fitting, rel=0.1)
        assert sum(task.done() for task in waiting) == len(waiting) - len(bench.queue)
        await _cancel(waiting)

    run(test)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, ComeBackError):
            await task
