"""A channel's checks, connections and streams together: probes answer by hand, nothing connects."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from pki.access.refusal import Refusal
from pki.authz import Policy, read_policy
from pki.credentials.snapshot import Snapshot
from pki.rpc.client.channel_config import ChannelConfig
from pki.rpc.client.connection import Connection
from pki.rpc.client.connections import ChannelConnections
from pki.rpc.client.pin import Pin
from pki.rpc.client.served_by import ServedByCheck
from pki.tls.target import Address, Target
from pki.x509 import ChainVerifier, Credential
from tests.interop.shop import eventually
from tests.support import SHOP, Clock, Hierarchy, validity

H = Hierarchy()
GET = "/shop.v1.Orders/Get"
POLICY = read_policy(
    b"""
trust_domain = "shop.internal"
[roles]
orders = ["spiffe://shop.internal/orders"]
[[served_by]]
service = "shop.v1.Orders"
role = "orders"
""",
    source="policy.toml",
)


@dataclass
class Bench:
    """A channel of which only gRPC is missing."""

    clock: Clock = field(default_factory=Clock)
    policy: Policy | None = POLICY
    answer: x509.Certificate = field(default_factory=H.leaf)
    made: int = 0
    ready: set[int] = field(default_factory=set)
    closed: list[int] = field(default_factory=list)
    rotations: int = 0
    refused: list[Refusal] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.let_go.set()
        self.snapshot = self.snapshot_of(1)
        pin = Pin.of("orders", SHOP)
        config = ChannelConfig(
            Target.parse("ipv4:127.0.0.1:1"),
            pin,
            ServedByCheck(pin, lambda: self.policy),
            snapshot=lambda: self.snapshot,
            clock=self.clock,
            on_rotation=self.note_rotation,
            on_refused_call=self.refused.append,
        )
        self.connections: ChannelConnections[int] = ChannelConnections(
            config, self.make, changed=lambda: None, probe=self.probe
        )

    def snapshot_of(
        self,
        version: int,
        revoked: Collection[x509.Certificate] = (),
        ends: timedelta = timedelta(hours=2),
    ) -> Snapshot:
        leaf = H.leaf("gateway", times=validity(end=ends))
        crls = H.crls(list(revoked), number=version)
        credential = Credential(H.key, (leaf, H.issuing), H.bundle, crls)
        return Snapshot(version, credential, ChainVerifier(H.bundle, crls))

    def make(self, addresses: Collection[Address]) -> Connection[int]:
        self.made += 1
        number = self.made
        return Connection(
            number,
            self.snapshot.version,
            self.snapshot.credential.leaf.not_valid_after_utc,
            addresses=addresses,
            clock=self.clock,
            check_ready=lambda _: number in self.ready,
            close=lambda: self.closed.append(number),
        )

    def note_rotation(self) -> None:
        self.rotations += 1

    def probe(self, *_: Any, **__: Any) -> tuple[x509.Certificate, ...]:
        assert self.let_go.wait(10)
        return (self.answer, H.issuing)

    def verify(self) -> None:
        probing = self.connections.checks.request_round()
        assert probing is not None
        probing.result(10)
        self.connections.advance()

    def renew(self) -> None:
        """Bring the next version of our credential, and wait until the server was probed."""
        self.snapshot = self.snapshot_of(self.snapshot.version + 1)
        self.connections.advance()
        assert eventually(lambda: not self.connections.checks.awaits_probe())
        self.connections.advance()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_no_call_gets_a_connection_before_the_server_is_verified(bench: Bench) -> None:
    assert bench.connections.acquire() is None
    assert bench.connections.acquire_verified() is None
    bench.verify()
    connection = bench.connections.acquire()
    assert connection is not None
    assert connection.channel == 1


def test_the_wrong_server_is_refused_with_its_reason(bench: Bench) -> None:
    bench.answer = H.leaf("payments")
    bench.verify()
    assert bench.connections.acquire() is None
    refusal = bench.connections.refuse_without_connection()
    assert refusal.name == "SERVER_CERTIFICATE_REJECTED"
    assert bench.refused == [refusal]
    assert "refused" in bench.connections.states()


def test_a_new_version_of_our_credential_makes_a_connection_beside_the_old_one(
    bench: Bench,
) -> None:
    bench.verify()
    held = bench.connections.acquire()
    assert held is not None
    bench.renew()
    assert bench.connections.states() == ["in_use", "next"]
    bench.ready.add(2)
    bench.connections.advance()
    assert bench.connections.states() == ["in_use", "draining"]
    assert bench.rotations == 1
    held.release()
    bench.connections.advance()
    assert bench.closed == [1]


def test_the_server_is_probed_first_so_that_one_connection_follows_both_changes(
    bench: Bench,
) -> None:
    bench.verify()
    assert bench.connections.acquire() is not None
    bench.answer = H.leaf()
    bench.let_go.clear()
    bench.snapshot = bench.snapshot_of(2)
    bench.connections.advance()
    assert bench.made == 1, "the probe that runs may bring the server's new leaf"
    bench.let_go.set()
    assert eventually(lambda: not bench.connections.checks.awaits_probe())
    bench.connections.advance()
    [(_, chain)] = list(bench.connections.rotation)[1].verified.items()
    assert (bench.made, chain.leaf) == (2, bench.answer)


def test_a_connection_that_accepts_no_more_calls_is_replaced_without_a_probe_first(
    bench: Bench,
) -> None:
    bench.answer = H.leaf(times=validity(end=timedelta(hours=9)))
    bench.verify()
    assert bench.connections.acquire() is not None
    bench.let_go.clear()
    bench.clock.move(hours=2)
    bench.snapshot = bench.snapshot_of(2, ends=timedelta(hours=9))
    bench.connections.advance()
    assert bench.made == 2, "our old leaf has ended"
    bench.let_go.set()


def test_a_probe_that_stays_without_an_answer_holds_the_new_credential_up_for_a_second(
    bench: Bench,
) -> None:
    bench.verify()
    assert bench.connections.acquire() is not None
    bench.let_go.clear()
    bench.snapshot = bench.snapshot_of(2)
    bench.connections.advance()

    def has_connected() -> bool:
        bench.connections.advance()
        return bench.made == 2

    assert eventually(has_connected)
    bench.let_go.set()


def test_new_lists_alone_make_no_new_connection(bench: Bench) -> None:
    bench.verify()
    bench.connections.acquire()
    fresh = bench.snapshot_of(2)
    bench.snapshot = Snapshot(1, fresh.credential, fresh.verifier)
    bench.connections.recheck()
    bench.connections.advance()
    assert bench.made == 1


def test_a_revoked_server_takes_no_more_calls_and_its_idle_connection_ends(bench: Bench) -> None:
    bench.verify()
    held = bench.connections.acquire()
    assert held is not None
    held.release()
    revoked = bench.snapshot_of(2, [bench.answer])
    bench.snapshot = Snapshot(1, revoked.credential, revoked.verifier)
    bench.connections.recheck()
    bench.connections.advance()
    assert bench.connections.acquire() is None
    assert bench.closed == [1]
    assert held.refusal is not None
    assert held.refusal.name == "SERVER_CERTIFICATE_REJECTED"


def test_our_own_leaf_that_has_ended_is_the_reason_that_callers_read(bench: Bench) -> None:
    bench.verify()
    bench.clock.move(hours=3)
    bench.answer = H.leaf(times=validity(end=timedelta(hours=9)))
    bench.connections.advance()
    assert bench.connections.acquire() is None
    assert bench.connections.refuse_without_connection().name == "CREDENTIAL_ENDED"


def test_the_policy_refuses_a_service_that_the_server_may_not_answer(bench: Bench) -> None:
    assert bench.connections.refuse_by_policy(GET) is None
    refusal = bench.connections.refuse_by_policy("/shop.v1.Payments/Charge")
    assert refusal is not None
    assert (refusal.name, bench.refused) == ("SERVER_ROLE_MISSING", [refusal])
    bench.policy = None
    later = bench.connections.refuse_by_policy(GET)
    assert later is not None
    assert later.name == "POLICY_UNAVAILABLE"


def test_once_the_workload_is_closed_nothing_goes_through(bench: Bench) -> None:
    bench.verify()
    bench.connections.on_close()
    bench.connections.advance()
    assert bench.connections.acquire() is None
    assert "the Workload of this channel was closed" in (
        bench.connections.refuse_without_connection().message
    )
    assert bench.closed == [1]


def test_once_the_channel_is_closed_nothing_goes_through(bench: Bench) -> None:
    bench.verify()
    bench.connections.close()
    assert bench.connections.acquire() is None
    assert bench.connections.states() == []
    assert bench.closed == [1]
