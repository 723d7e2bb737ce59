"""Which connection a call uses while credentials change: the rules, without a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from pki.rpc.rotation import Generation, Rotation
from tests.support import NOW

HOUR = timedelta(hours=1)


@dataclass
class Connections:
    """Makes connections that are numbered, and become ready by hand."""

    ready: set[int] = field(default_factory=set)
    closed: list[int] = field(default_factory=list)
    made: int = 0
    shown: object = "first"
    swaps: int = 0

    def make(self) -> Generation[int]:
        self.made += 1
        number = self.made
        return Generation(
            number,
            self.shown,
            NOW + HOUR,
            lambda: number in self.ready,
            lambda: self.closed.append(number),
        )

    def swapped(self) -> None:
        self.swaps += 1

    def rotation(self) -> Rotation[int]:
        return Rotation(self.make, self.swapped)


def test_nothing_changes_while_the_credential_is_the_same() -> None:
    them = Connections()
    rotation = them.rotation()
    rotation.tick("first", NOW)
    assert (them.made, rotation.enter().channel) == (1, 1)


def test_new_calls_go_over_once_the_new_connection_is_ready() -> None:
    them = Connections()
    rotation = them.rotation()
    held = rotation.enter()
    them.shown = "second"
    rotation.tick("second", NOW)
    assert rotation.enter().channel == 1
    them.ready.add(2)
    rotation.tick("second", NOW)
    assert rotation.enter().channel == 2
    assert them.swaps == 1
    assert them.closed == []
    held.leave()
    rotation.tick("second", NOW)
    assert them.closed == [], "the second call on the old one still runs"
    held.leave()
    rotation.tick("second", NOW)
    assert them.closed == [1]


def test_a_connection_that_never_gets_ready_takes_over_after_five_seconds() -> None:
    them = Connections()
    rotation = them.rotation()
    rotation.enter()
    them.shown = "second"
    rotation.tick("second", NOW)
    rotation.tick("second", NOW + timedelta(seconds=4))
    assert rotation.current.channel == 1
    rotation.tick("second", NOW + timedelta(seconds=5))
    assert rotation.current.channel == 2


def test_a_channel_that_was_never_used_goes_over_at_once() -> None:
    them = Connections()
    rotation = them.rotation()
    them.shown = "second"
    rotation.tick("second", NOW)
    assert rotation.enter().channel == 2
    assert them.closed == [1]


def test_a_third_credential_takes_the_place_of_one_that_was_never_ready() -> None:
    them = Connections()
    rotation = them.rotation()
    rotation.enter()
    for name in ("second", "third"):
        them.shown = name
        rotation.tick(name, NOW)
    assert them.closed == [2]
    them.ready.add(3)
    rotation.tick("third", NOW)
    assert rotation.current.channel == 3


def test_calls_on_an_old_connection_end_with_its_leaf_at_the_latest() -> None:
    them = Connections()
    rotation = them.rotation()
    rotation.enter()
    them.shown = "second"
    them.ready.add(2)
    rotation.tick("second", NOW)
    rotation.tick("second", NOW + HOUR - timedelta(seconds=1))
    assert them.closed == []
    rotation.tick("second", NOW + HOUR)
    assert them.closed == [1]


def test_a_closed_channel_closes_all_and_begins_nothing_new() -> None:
    them = Connections()
    rotation = them.rotation()
    rotation.enter()
    them.shown = "second"
    rotation.tick("second", NOW)
    rotation.close()
    assert sorted(them.closed) == [1, 2]
    rotation.tick("third", NOW)
    assert them.made == 2
    # gRPC's own error tells whoever calls on it now.
    assert rotation.enter().channel == 1


def test_a_call_never_gets_a_connection_that_was_closed_under_it() -> None:
    them = Connections()
    rotation = them.rotation()
    first = rotation.current
    them.shown = "second"
    rotation.tick("second", NOW)
    assert not first.enter()
    assert rotation.enter().channel == 2
