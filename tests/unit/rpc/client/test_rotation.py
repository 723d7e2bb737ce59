"""Which connection a call uses while credentials change: the rules, without a network."""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from pki.access.refusal import CREDENTIAL_ENDED, Refusal, server_refusal
from pki.rpc.client.connection import Connection, RotationInputs
from pki.rpc.client.rotation import Rotation
from pki.tls.target import Address
from pki.x509 import Fault, Purpose
from pki.x509.peer_chain import PeerChain
from tests.support import NOW, Hierarchy, validity

HOUR = timedelta(hours=1)
SERVER = "spiffe://shop.internal/orders"
HERE: Address = (socket.AF_INET, ("127.0.0.1", 1))


@dataclass
class Connections:
    """Makes connections that are numbered, and become ready by hand."""

    ready: set[int] = field(default_factory=set)
    closed: list[int] = field(default_factory=list)
    made: int = 0
    shown: object = "first"
    swaps: int = 0
    ends: datetime = NOW + HOUR
    good: PeerChain | None = None
    lost: Refusal | None = None
    fallen: list[PeerChain] = field(default_factory=list)
    seconds: float = 100.0

    def make(self, addresses: Collection[Address] = ()) -> Connection[int]:
        self.made += 1
        number = self.made
        return Connection(
            number,
            self.shown,
            self.ends,
            addresses=addresses,
            clock=lambda: NOW,
            check_ready=lambda _: number in self.ready,
            close=lambda: self.closed.append(number),
            monotonic=lambda: self.seconds,
        )

    def swapped(self, _: Connection[int]) -> None:
        self.swaps += 1

    def rotation(self, drain: timedelta | None = None) -> Rotation[int]:
        return Rotation(self.make, [HERE], drain=drain, switched=self.swapped)

    def refusal_of(self, standing: PeerChain) -> Refusal | None:
        if standing in self.fallen:
            return server_refusal(SERVER, Fault.REVOKED, 1)
        return None

    def tick(self, rotation: Rotation[int], now: datetime = NOW) -> None:
        accepted = {HERE: self.good} if self.good is not None else {}
        rotation.advance(
            RotationInputs(self.shown, self.ends, accepted, self.lost, self.refusal_of, now)
        )


def entered(rotation: Rotation[int]) -> Connection[int]:
    found = rotation.acquire()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def leaves() -> list[PeerChain]:
    made = Hierarchy()
    return [PeerChain((made.leaf("orders"), made.issuing), Purpose.SERVER) for _ in range(2)]


def test_nothing_changes_while_the_credential_is_the_same() -> None:
    them = Connections()
    rotation = them.rotation()
    them.tick(rotation)
    assert (them.made, entered(rotation).channel) == (1, 1)


def test_new_calls_go_over_once_the_new_connection_is_ready() -> None:
    them = Connections()
    rotation = them.rotation()
    held = entered(rotation)
    them.shown = "second"
    them.tick(rotation)
    assert entered(rotation).channel == 1
    them.ready.add(2)
    them.tick(rotation)
    assert entered(rotation).channel == 2
    assert them.swaps == 1
    assert them.closed == []
    held.release()
    them.tick(rotation)
    assert them.closed == [], "the second call on the old one still runs"
    held.release()
    them.tick(rotation)
    assert them.closed == [1]


def test_a_connection_that_never_gets_ready_takes_over_after_five_seconds() -> None:
    them = Connections()
    rotation = them.rotation()
    entered(rotation)
    them.shown = "second"
    them.tick(rotation)
    them.tick(rotation, NOW + timedelta(seconds=4))
    assert rotation.current.channel == 1
    them.tick(rotation, NOW + timedelta(seconds=5))
    assert rotation.current.channel == 2


def test_a_channel_that_was_never_used_goes_over_at_once() -> None:
    them = Connections()
    rotation = them.rotation()
    them.shown = "second"
    them.tick(rotation)
    assert entered(rotation).channel == 2
    assert them.closed == [1]


def test_a_third_credential_takes_the_place_of_one_that_was_never_ready() -> None:
    them = Connections()
    rotation = them.rotation()
    entered(rotation)
    for name in ("second", "third"):
        them.shown = name
        them.tick(rotation)
    assert them.closed == [2]
    them.ready.add(3)
    them.tick(rotation)
    assert rotation.current.channel == 3


def test_calls_on_an_old_connection_end_with_its_leaf_at_the_latest() -> None:
    them = Connections()
    rotation = them.rotation()
    entered(rotation)
    them.shown, them.ends = "second", NOW + 2 * HOUR
    them.ready.add(2)
    them.tick(rotation)
    them.tick(rotation, NOW + HOUR - timedelta(seconds=1))
    assert them.closed == []
    them.tick(rotation, NOW + HOUR)
    assert them.closed == [1]


def test_a_closed_channel_closes_all_and_begins_nothing_new() -> None:
    them = Connections()
    rotation = them.rotation()
    entered(rotation)
    them.shown = "second"
    them.tick(rotation)
    rotation.close()
    assert sorted(them.closed) == [1, 2]
    them.tick(rotation)
    assert them.made == 2
    assert rotation.is_closed
    assert rotation.acquire() is None


def test_a_call_never_gets_a_connection_that_was_closed_under_it() -> None:
    them = Connections()
    rotation = them.rotation()
    first = rotation.current
    them.shown = "second"
    them.tick(rotation)
    assert not first.acquire()
    assert entered(rotation).channel == 2


def test_calls_that_run_at_the_end_of_our_leaf_read_that_it_ended() -> None:
    them = Connections()
    rotation = them.rotation()
    held = entered(rotation)
    them.tick(rotation, NOW + HOUR)
    assert (them.closed, held.refusal) == ([1], CREDENTIAL_ENDED)
    assert rotation.acquire() is None
    assert them.made == 1, "with a leaf that has ended no connection can be made"


def test_a_credential_that_comes_after_the_end_brings_the_channel_back() -> None:
    them = Connections()
    rotation = them.rotation()
    entered(rotation)
    them.tick(rotation, NOW + HOUR)
    them.shown, them.ends = "second", NOW + 2 * HOUR
    them.tick(rotation, NOW + HOUR)
    assert entered(rotation).channel == 2


def test_calls_may_go_on_for_the_drain_limit_alone() -> None:
    them = Connections()
    rotation = them.rotation(drain=timedelta(seconds=30))
    held = entered(rotation)
    them.shown = "second"
    them.ready.add(2)
    them.tick(rotation)
    them.tick(rotation, NOW + timedelta(seconds=29))
    assert them.closed == []
    them.tick(rotation, NOW + timedelta(seconds=30))
    assert (them.closed, held.refusal) == ([1], CREDENTIAL_ENDED)


def test_a_server_that_shows_another_leaf_gets_another_connection(leaves: list[PeerChain]) -> None:
    them = Connections(good=leaves[0])
    rotation = them.rotation()
    held = entered(rotation)
    them.tick(rotation)
    assert them.made == 1, "what was seen first is what the first connection began with"
    them.good = leaves[1]
    them.ready.add(2)
    them.tick(rotation)
    assert entered(rotation).channel == 2
    assert them.closed == []
    held.release()
    them.tick(rotation)
    assert them.closed == [1]


def test_a_connection_whose_server_lost_our_trust_takes_no_call_and_ends_soon(
    leaves: list[PeerChain],
) -> None:
    them = Connections(good=leaves[0])
    rotation = them.rotation()
    them.tick(rotation)
    held = entered(rotation)
    them.good, them.fallen = None, [leaves[0]]
    them.tick(rotation)
    assert rotation.acquire() is None or rotation.current.channel == 2
    assert them.closed == [], "short calls may end well"
    them.seconds += 0.5
    them.tick(rotation)
    assert them.closed == [1]
    assert held.refusal is not None
    assert held.refusal.name == "SERVER_CERTIFICATE_REJECTED"


def test_a_server_that_is_lost_ends_all_at_once_and_comes_back(leaves: list[PeerChain]) -> None:
    them = Connections(good=leaves[0])
    rotation = them.rotation()
    them.tick(rotation)
    held = entered(rotation)
    them.good, them.lost = None, server_refusal(SERVER, Fault.NAME_MISMATCH, 1)
    them.tick(rotation)
    assert (them.closed, held.refusal) == ([1], them.lost)
    assert rotation.acquire() is None
    them.good, them.lost = leaves[0], None
    them.tick(rotation)
    assert entered(rotation).channel == 2


def test_a_connection_ends_with_the_servers_leaf_that_it_began_with() -> None:
    made = Hierarchy()
    short, long = (
        PeerChain((made.leaf("orders", times=validity(end=end)), made.issuing), Purpose.SERVER)
        for end in (timedelta(minutes=10), HOUR)
    )
    them = Connections(good=short, ready={2})
    rotation = them.rotation()
    them.tick(rotation)
    held = entered(rotation)
    them.good = long
    them.tick(rotation, NOW + timedelta(minutes=9))
    assert them.closed == []
    them.tick(rotation, NOW + timedelta(minutes=10, seconds=1))
    assert (them.closed, held.refusal) == ([1], CREDENTIAL_ENDED)
    assert entered(rotation).channel == 2


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ("C C R C", 0),
        ("R D R", 1),
        ("R D c R", 1),
        ("R D D R R", 1),
        ("R c R c", 2),
        ("c R R", 0),
    ],
)
def test_a_connection_made_anew_is_told_once_each_time(states: str, told: int) -> None:
    """R: ready; C, D: connecting, dropped; c: dropped, and a call begins."""
    them = Connections()
    made = them.make()
    found = []
    for state in states.split():
        them.ready = {1} if state == "R" else set()
        found.append(made.note_reconnect(calling=state == "c"))
    assert sum(found) == told


def test_a_connection_dropped_right_after_its_first_call_is_told_at_the_next() -> None:
    made = Connections().make()
    assert made.acquire()
    made.release()
    assert made.note_reconnect(calling=True)
