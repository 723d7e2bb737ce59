"""The check of a server at one address: the rules, with probes and clocks moved by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from cryptography import x509

from pki.access.refusal import server_unverified
from pki.errors import VerificationError
from pki.identity import SpiffeId
from pki.rpc.client.verification.probe import ProbeError
from pki.rpc.client.verification.server_check import CheckContext, ServerCheck
from pki.x509 import ChainVerifier, Fault
from tests.support import NOW, SHOP, Clock, Hierarchy, validity

H = Hierarchy()
ORDERS = SpiffeId.of_path(SHOP, "orders")
Chain = tuple[x509.Certificate, ...]


def chain_for(path: str = "orders", hours: float = 1) -> Chain:
    times = validity(end=timedelta(hours=hours))
    return (H.leaf(path, times=times), H.issuing)


@dataclass
class Bench:
    """A check whose probes answer as they are told to, at once or when they are let go."""

    answer: Chain | Exception = field(default_factory=chain_for)
    clock: Clock = field(default_factory=Clock)
    seconds: float = 1000.0
    probes: int = 0
    changes: int = 0
    results: list[str] = field(default_factory=list)
    verifier: ChainVerifier = field(default_factory=lambda: ChainVerifier(H.bundle, H.crls()))
    let_go: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.let_go.set()
        context = CheckContext(
            ORDERS,
            lambda: self.verifier,
            self.clock,
            self._changed,
            self.results.append,
            monotonic=lambda: self.seconds,
        )
        self.check = ServerCheck(context, "127.0.0.1:1", self._probe)

    def _changed(self) -> None:
        self.changes += 1

    def _probe(self) -> Chain:
        self.probes += 1
        assert self.let_go.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def probe(self) -> None:
        """Request a probe as a call does, and wait for it."""
        probing = self.check.request_probe()
        assert probing is not None
        probing.result(10)

    def recheck(self) -> None:
        """Recheck, and wait for a probe that this began."""
        # Held, so that a probe that begins can't end before it is waited for.
        self.let_go.clear()
        self.check.recheck()
        probing = self.check._probing
        self.let_go.set()
        if probing is not None:
            probing.result(10)


NO_ANSWER = ProbeError("HANDSHAKE_TIMEOUT", "no answer within 5 s")


def test_a_server_that_was_never_probed_is_neither_verified_nor_refused() -> None:
    bench = Bench()
    assert (bench.check.verified, bench.check.refusal) == (None, None)
    bench.recheck()
    bench.check.schedule_probe()
    bench.seconds += 3600
    bench.recheck()
    assert bench.probes == 0, "the first call asks for the first probe"


def test_a_probe_that_finds_the_server_verifies_it() -> None:
    bench = Bench()
    bench.probe()
    assert bench.check.verified is not None
    assert bench.check.verified.chain == bench.answer
    assert (bench.check.refusal, bench.results, bench.changes) == (None, ["SUCCESS"], 1)


def test_all_calls_that_wait_share_one_probe() -> None:
    bench = Bench()
    bench.let_go.clear()
    first, second = bench.check.request_probe(), bench.check.request_probe()
    assert first is not None
    assert first is second
    bench.let_go.set()
    first.result(10)
    assert bench.probes == 1


@pytest.mark.parametrize(
    ("answer", "reason", "result"),
    [
        (
            lambda: chain_for("payments"),
            "SERVER_CERTIFICATE_REJECTED",
            Fault.NAME_MISMATCH.handshake_result,
        ),
        (
            lambda: VerificationError("no path", fault=Fault.UNTRUSTED),
            "SERVER_CERTIFICATE_REJECTED",
            Fault.UNTRUSTED.handshake_result,
        ),
        (lambda: NO_ANSWER, "SERVER_UNVERIFIED", "HANDSHAKE_TIMEOUT"),
        (lambda: ValueError("anything else"), "SERVER_UNVERIFIED", "UNSPECIFIED"),
    ],
)
def test_what_a_probe_finds_wrong_is_the_failure_and_its_result(
    answer: Callable[[], Chain | Exception], reason: str, result: str
) -> None:
    bench = Bench(answer=answer())
    bench.probe()
    assert bench.check.verified is None
    assert bench.check.refusal is not None
    assert bench.check.refusal.name == reason
    assert bench.results == [result]


def test_after_a_failure_the_next_probe_waits_longer_each_time_and_no_longer_than_5_s() -> None:
    bench = Bench(answer=NO_ANSWER)
    delays = []
    for _ in range(12):
        bench.probe()
        assert bench.check.request_probe() is None
        assert not bench.check.may_probe
        delays.append(bench.check.retry_delay())
        bench.seconds += delays[-1]
    assert all(0.1 <= delay <= 5 for delay in delays)
    assert delays[0] <= 0.2
    assert max(delays) > 2.5


def test_a_verified_server_that_does_not_answer_is_refused_at_the_fourth_time() -> None:
    bench = Bench()
    bench.probe()
    bench.answer = NO_ANSWER
    for _ in range(3):
        bench.seconds += 10
        bench.check.schedule_probe()
        bench.seconds += 10
        bench.recheck()
        assert bench.check.verified is not None, "it may only be busy"
        assert bench.check.refusal is None
    bench.seconds += 10
    bench.recheck()
    assert bench.probes == 5
    assert bench.check.verified is None
    assert bench.check.refusal is not None
    assert bench.check.refusal.name == "SERVER_UNVERIFIED"


def test_a_success_in_between_begins_the_count_anew() -> None:
    bench = Bench()
    good = bench.answer
    bench.probe()
    for _ in range(3):
        for answer in (NO_ANSWER, NO_ANSWER, NO_ANSWER, good):
            bench.answer = answer
            bench.seconds += 10
            bench.check.schedule_probe()
            bench.seconds += 10
            bench.recheck()
            assert bench.check.verified is not None


def test_another_server_at_the_address_is_refused_at_once() -> None:
    bench = Bench()
    bench.probe()
    bench.answer = chain_for("payments")
    bench.check.schedule_probe()
    bench.seconds += 10
    bench.recheck()
    assert bench.check.verified is None
    assert bench.check.refusal is not None
    assert bench.check.refusal.name == "SERVER_CERTIFICATE_REJECTED"


def test_a_revocation_takes_the_verified_chain_without_a_probe_and_a_probe_follows() -> None:
    bench = Bench()
    bench.probe()
    chain = bench.check.verified
    assert chain is not None
    bench.verifier = ChainVerifier(H.bundle, H.crls([chain.leaf], number=2))
    bench.check.recheck()
    assert bench.check.verified is None
    assert bench.probes == 1
    bench.seconds += 10
    bench.recheck()
    assert bench.probes == 2
    assert bench.check.refusal is not None
    assert bench.results[-1] == Fault.REVOKED.handshake_result


def test_a_probe_runs_well_before_the_leaf_ends() -> None:
    bench = Bench(answer=chain_for(hours=1))
    bench.probe()
    bench.clock.at = NOW + timedelta(minutes=29)
    bench.recheck()
    assert bench.probes == 1
    bench.clock.at = NOW + timedelta(minutes=49)
    bench.recheck()
    assert bench.probes == 2


def test_two_probes_that_no_call_waits_for_are_a_second_apart() -> None:
    bench = Bench()
    bench.probe()
    bench.check.schedule_probe()
    bench.seconds += 0.99
    bench.recheck()
    assert bench.probes == 1
    bench.seconds += 0.52
    bench.recheck()
    assert bench.probes == 2


def test_what_grpc_was_presented_rejects_the_address_as_a_probe_would() -> None:
    bench = Bench()
    bench.probe()
    other = Bench(answer=chain_for("payments"))
    other.probe()
    refusal = other.check.refusal
    assert refusal is not None
    bench.check.reject(refusal)
    assert (bench.check.verified, bench.check.refusal) == (None, refusal)
    assert bench.changes == 2


def test_a_closed_check_lets_nothing_through_and_probes_no_more() -> None:
    bench = Bench()
    bench.probe()
    bench.check.close("the channel was closed")
    assert bench.check.verified is None
    assert bench.check.refusal is not None
    assert bench.check.refusal.message.endswith("the channel was closed")
    assert bench.check.request_probe() is None
    closed = bench.check.refusal
    bench.check.reject(server_unverified(str(ORDERS), "UNSPECIFIED", "another reason"))
    assert bench.check.refusal is closed
    bench.seconds += 3600
    bench.clock.move(minutes=50)
    bench.recheck()
    assert bench.probes == 1


def test_a_probe_that_ends_after_the_close_changes_nothing() -> None:
    bench = Bench()
    bench.let_go.clear()
    probing = bench.check.request_probe()
    assert probing is not None
    bench.check.close("the channel was closed")
    bench.let_go.set()
    probing.result(10)
    assert bench.check.verified is None
    assert bench.check.refusal is not None
    assert bench.check.refusal.message.endswith("the channel was closed")


def test_a_process_without_a_thread_to_spare_counts_it_as_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bench = Bench()
    monkeypatch.setattr(threading.Thread, "start", none_left)
    bench.probe()
    assert bench.check.refusal is not None
    assert "can't start new thread" in bench.check.refusal.message
    monkeypatch.undo()
    bench.seconds += 10
    bench.probe()
    assert bench.check.verified is not None
