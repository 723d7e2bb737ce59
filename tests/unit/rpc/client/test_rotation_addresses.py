"""Which connection a call uses while a server's addresses come and go: without a network."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pytest

from pki.access.refusal import Refusal, server_refusal
from pki.rpc.client.connection import Connection, RotationInputs
from pki.rpc.client.rotation import Rotation
from pki.tls.target import Address
from pki.x509 import Fault, Purpose
from pki.x509.peer_chain import PeerChain
from tests.support import NOW, Hierarchy, validity

A: Address = (socket.AF_INET, ("10.0.0.1", 1))
B: Address = (socket.AF_INET, ("10.0.0.2", 1))
REFUSED = server_refusal("spiffe://shop.internal/orders", Fault.NAME_MISMATCH)
ENDPOINTS = validity().not_after


@dataclass
class Channels:
    """Makes channels that are always ready, and notes where each goes."""

    went_to: list[frozenset[Address]] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    refused: dict[Address, Refusal] = field(default_factory=dict)

    def make(self, addresses: Collection[Address]) -> Connection[int]:
        self.went_to.append(frozenset(addresses))
        number = len(self.went_to)
        return Connection(
            number,
            self,
            ENDPOINTS,
            addresses=addresses,
            clock=lambda: NOW,
            check_ready=lambda _: True,
            close=lambda: self.closed.append(number),
        )

    def tick(
        self,
        rotation: Rotation[int],
        accepted: Mapping[Address, PeerChain],
        *,
        settled: bool = True,
        lost: Refusal | None = None,
    ) -> None:
        rotation.advance(
            RotationInputs(
                self, ENDPOINTS, accepted, lost, lambda _: None, NOW, self.refused.get, settled
            )
        )


@pytest.fixture(scope="module")
def seen() -> dict[Address, PeerChain]:
    made = Hierarchy()
    chains = [(made.leaf("orders"), made.issuing) for _ in (A, B)]
    return {
        item: PeerChain(chain, Purpose.SERVER) for item, chain in zip((A, B), chains, strict=True)
    }


def test_a_name_gets_its_first_connection_with_the_addresses_that_were_accepted(
    seen: dict[Address, PeerChain],
) -> None:
    them = Channels()
    rotation = Rotation(them.make)
    assert not rotation.current.verified, "no call may go to it"
    them.tick(rotation, {B: seen[B]})
    assert rotation.current.verified == {B: seen[B]}
    assert them.went_to == [frozenset(), {B}]


def test_addresses_that_stand_in_the_target_are_gone_to_once_all_are_accepted(
    seen: dict[Address, PeerChain],
) -> None:
    them = Channels()
    rotation = Rotation(them.make, [A, B])
    them.tick(rotation, seen)
    assert rotation.current.channel == 1
    assert rotation.current.verified == seen


def test_another_address_is_waited_for_while_looks_are_on_their_way(
    seen: dict[Address, PeerChain],
) -> None:
    them = Channels()
    rotation = Rotation(them.make)
    them.tick(rotation, {A: seen[A]}, settled=False)
    them.tick(rotation, seen, settled=False)
    assert them.went_to == [frozenset(), {A}]
    them.tick(rotation, seen)
    assert them.went_to[2:] == [{A, B}]
    assert rotation.current.verified == seen


def test_an_address_that_is_gone_is_left_at_once_and_streams_go_on(
    seen: dict[Address, PeerChain],
) -> None:
    them = Channels()
    rotation = Rotation(them.make, [A, B])
    them.tick(rotation, seen)
    held = rotation.acquire()
    assert held is not None
    them.tick(rotation, {A: seen[A]}, settled=False)
    assert rotation.current.verified == {A: seen[A]}
    assert them.closed == []
    held.release()
    them.tick(rotation, {A: seen[A]})
    assert them.closed == [1]


def test_an_address_at_which_another_is_found_ends_the_connection_with_what_runs(
    seen: dict[Address, PeerChain],
) -> None:
    them = Channels()
    rotation = Rotation(them.make, [A, B])
    them.tick(rotation, seen)
    held = rotation.acquire()
    assert held is not None
    them.refused[B] = REFUSED
    them.tick(rotation, {A: seen[A]})
    assert (them.closed, held.refusal) == ([1], REFUSED)
    assert rotation.current.verified == {A: seen[A]}


def test_a_connection_that_grpc_was_shown_another_server_on_takes_no_call_from_then_on(
    seen: dict[Address, PeerChain],
) -> None:
    them = Channels()
    rotation = Rotation(them.make, [A, B])
    them.tick(rotation, seen)
    rotation.current.reject(REFUSED)
    assert rotation.acquire() is None, "before anybody has ended it"
    them.tick(rotation, seen)
    assert them.closed == [1]
    assert rotation.acquire() is rotation.current


def test_a_channel_that_is_being_closed_takes_no_call(seen: dict[Address, PeerChain]) -> None:
    them = Channels()
    rotation = Rotation(them.make, [A, B])
    them.tick(rotation, seen)
    rotation.stop()
    assert rotation.acquire() is None
