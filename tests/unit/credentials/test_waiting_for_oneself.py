"""A workload may be closed by code of the user's that one of its own threads runs."""

from __future__ import annotations

from pki.background import defer, flush
from pki.credentials.periodic import PeriodicTask
from tests.interop.shop import eventually

_LONG_SECONDS = 60.0


def test_a_thread_that_ticks_does_not_wait_for_itself() -> None:
    found: list[bool] = []

    def tick() -> None:
        if not found:
            found.append(ticker.wait_done(ticker.wake(), _LONG_SECONDS))

    ticker = PeriodicTask(_LONG_SECONDS, tick, "test")
    ticker.start()
    ticker.wake()
    came = eventually(lambda: found == [False])
    ticker.stop(0)
    assert came


def test_the_thread_that_tells_does_not_wait_until_it_has_told() -> None:
    found: list[str] = []

    def handle() -> None:
        flush(_LONG_SECONDS)
        found.append("told")

    defer(handle)
    assert eventually(lambda: found == ["told"])
