"""Pruning believes the time only as far as the audit log confirms it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.pruning.prune import PruneBounds, prune_step
from pki.authority.pruning.settled_time import settled_time
from tests.support import Clock, make_authority

KEEP = timedelta(days=30)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path, clock) as authority:
        yield authority


def settled(ca: Authority) -> datetime | None:
    with ca.context.ledger.snapshot() as transaction:
        return settled_time(transaction, now=ca.now())


def test_it_is_that_of_the_newest_entry_that_is_an_hour_old(ca: Authority, clock: Clock) -> None:
    assert settled(ca) is None
    times = []
    for _ in range(20):
        ca.issue("orders")
        times.append(clock())
        clock.move(minutes=10)
    # The last one is 10 minutes old, and each one before it 10 more.
    for place in range(-6, -1):
        assert settled(ca) == times[place]
        clock.move(minutes=10)
    clock.move(days=100)
    assert settled(ca) == times[-1]


def test_a_clock_that_has_jumped_ahead_prunes_nothing_that_has_not_ended(
    ca: Authority, clock: Clock
) -> None:
    for _ in range(3):
        ca.issue("orders")
    clock.move(minutes=30)
    ca.issue("web")
    clock.move(days=100)
    # What it does in its first hour is dated by the wrong clock, and confirms nothing.
    ca.issue("payments")
    bounds = PruneBounds.settled(ca.context, KEEP)
    assert bounds is not None
    assert prune_step(ca.context, bounds).certificates == 0
    assert len(ca.certificates(with_ended=True)) == 5


def test_entries_from_a_time_when_the_clock_was_ahead_delay_it_alone(
    ca: Authority, clock: Clock
) -> None:
    ca.issue("orders")
    right = clock()
    clock.move(days=100)
    for _ in range(40):
        ca.issue("orders")
    clock.move(days=-100)
    clock.move(hours=2)
    assert settled(ca) in {right, None}
    for _ in range(200):
        ca.issue("orders")
    confirmed = clock()
    clock.move(hours=2)
    assert settled(ca) == confirmed
