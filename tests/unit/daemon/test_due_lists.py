"""Which lists are due is a question of the time, however the clock came there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.daemon.lists.due import DueLists
from pki.daemon.trust_feed import TrustFeed
from tests.support import Clock, make_authority


class Seconds:
    """Seconds that only grow, by hand."""

    at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def authority(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path, clock) as made:
        yield made


@pytest.fixture
def feed(authority: Authority) -> TrustFeed:
    return TrustFeed(authority.context, lambda: None, lambda _: None)


@pytest.fixture
def lists(authority: Authority, seconds: Seconds) -> DueLists:
    context = authority.context
    return DueLists(context.now, context.settings.crl_lifetime, seconds)


def test_new_lists_are_not_due(lists: DueLists, feed: TrustFeed) -> None:
    assert not lists.must_sign(feed.state)


@pytest.mark.parametrize("days", [4, 8, 400])
def test_a_clock_that_jumps_makes_lists_due_until_they_are_signed(
    authority: Authority, feed: TrustFeed, lists: DueLists, clock: Clock, days: float
) -> None:
    clock.move(days=days)
    assert lists.must_sign(feed.state)
    authority.refresh_crls()
    feed.refresh()
    assert not lists.must_sign(feed.state)


def test_lists_of_a_clock_that_was_ahead_are_due(
    authority: Authority, feed: TrustFeed, lists: DueLists, clock: Clock
) -> None:
    clock.move(days=30)
    authority.refresh_crls()
    feed.refresh()
    assert not lists.must_sign(feed.state)
    clock.move(days=-30)
    assert lists.must_sign(feed.state)
    authority.refresh_crls()
    feed.refresh()
    assert not lists.must_sign(feed.state)


def test_the_time_just_before_half_of_a_lists_life_makes_nothing_due(
    lists: DueLists, feed: TrustFeed, clock: Clock
) -> None:
    clock.move(days=3.5)
    assert not lists.must_sign(feed.state)
    clock.move(seconds=1)
    assert lists.must_sign(feed.state)


def test_lists_that_can_not_be_signed_are_named_again_with_growing_pauses(
    lists: DueLists, feed: TrustFeed, clock: Clock, seconds: Seconds
) -> None:
    clock.move(days=8)
    named: list[float] = []
    for tick in range(4 * 3600):
        seconds.at = tick / 4
        if lists.must_sign(feed.state):
            named.append(seconds.at)
    assert named[:5] == [0, 1, 3, 7, 15]
    assert len(named) == 15
