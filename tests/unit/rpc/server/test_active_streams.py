"""The table of running streams: who is judged again, when, and that they are ended first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from pki.access.authorizer import CallAuthorizer
from pki.access.call_verdict import CallVerdict
from pki.access.peer_cache import CachedPeer
from pki.access.refusal import Refusal
from pki.authz import Policy, read_policy
from pki.background import flush
from pki.rpc.server.active_streams import ServerStream, ServerStreams
from pki.x509 import ChainVerifier
from pki.x509.readers import to_pem
from tests.support import NOW, Hierarchy, validity
from tests.unit.access.test_authorizer import BODY, GET

H = Hierarchy()


class Counting(CallAuthorizer):
    """Counts how often a stream is judged again."""

    asked = 0

    def reauthorize(self, known: CachedPeer, method: str) -> CallVerdict:
        self.asked += 1
        return super().reauthorize(known, method)


@dataclass
class Table:
    """A table of streams, and all that it goes by."""

    verifier: ChainVerifier = field(default_factory=lambda: ChainVerifier(H.bundle, H.crls()))
    policy: Policy | None = field(default_factory=lambda: read_policy(BODY.encode()))
    now = NOW
    seconds = 0.0

    def __post_init__(self) -> None:
        self.judge = Counting(lambda: self.verifier, lambda: self.policy, lambda: self.now)
        self.told: list[str] = []
        self.ended: list[str] = []
        self.streams = ServerStreams(self.judge, self._note, lambda: self.seconds)
        self.leaves = [H.leaf("gateway") for _ in range(3)]
        for number, leaf in enumerate(self.leaves):
            self.add(str(number), leaf)
        self.seconds += 1

    def add(self, name: str, leaf: object, end: Callable[[Refusal], None] | None = None) -> int:
        chain = {
            "x509_pem_cert": [to_pem([leaf])],  # type: ignore[list-item]
            "x509_pem_cert_chain": [to_pem([leaf, H.issuing])],  # type: ignore[list-item]
        }
        assert self.judge.authorize(chain, GET).refusal is None

        def note_end(refusal: Refusal) -> None:
            self.ended.append(f"{name} {refusal.name}")

        return self.streams.add(ServerStream(self.judge.cached_peer(chain), GET, end or note_end))

    def sweep(self) -> int:
        """Sweep; return how many streams were judged."""
        before = self.judge.asked
        self.streams.recheck()
        return self.judge.asked - before

    def _note(self, judgement: CallVerdict) -> None:
        assert judgement.refusal is not None
        self.told.append(judgement.refusal.name)


def test_nobody_is_judged_again_while_nothing_changes() -> None:
    table = Table()
    assert table.sweep() == 3, "those begun since the last sweep"
    assert [table.sweep() for _ in range(5)] == [0] * 5
    table.add("late", table.leaves[0])
    assert table.sweep() == 1


def test_a_new_list_has_everybody_judged_and_ends_whom_it_revokes() -> None:
    table = Table()
    table.sweep()
    table.verifier = ChainVerifier(H.bundle, H.crls([table.leaves[1]], number=2))
    assert table.sweep() == 3
    assert table.ended == ["1 CERTIFICATE_REVOKED"]
    flush()
    assert table.told == ["CERTIFICATE_REVOKED"]


def test_a_stream_that_begins_while_the_policy_changes_is_judged_by_the_new_one() -> None:
    table = Table()
    table.sweep()
    table.policy = read_policy(BODY.replace("Orders", "Stock").encode())
    table.sweep()
    table.ended.clear()
    table.policy = read_policy(BODY.encode())
    late = table.leaves[0]
    # It was let in by the old policy, and is put into the table after the sweep for the new one.
    newer = read_policy(BODY.replace("Orders", "Other").encode())
    chain = {"x509_pem_cert": [to_pem([late])], "x509_pem_cert_chain": [to_pem([late, H.issuing])]}
    known = table.judge.cached_peer(chain)
    table.policy = newer
    table.sweep()
    table.streams.add(ServerStream(known, GET, lambda refusal: table.ended.append(refusal.name)))
    table.seconds += 1
    table.sweep()
    assert "METHOD_NOT_GRANTED" in table.ended


def test_a_stream_ends_with_its_leaf_and_nobody_else_is_judged() -> None:
    table = Table()
    short = H.leaf("gateway", times=validity(end=timedelta(minutes=5)))
    table.add("short", short)
    table.sweep()
    table.now += timedelta(minutes=4)
    assert table.sweep() == 0
    table.now += timedelta(minutes=2)
    assert table.sweep() == 1
    assert table.ended == [], "not in the first moments of a stream"
    table.seconds += 1
    table.sweep()
    assert table.ended == ["short CREDENTIAL_ENDED"]


def test_a_clock_that_is_set_back_has_everybody_judged() -> None:
    table = Table()
    table.sweep()
    table.now -= timedelta(days=2)
    assert table.sweep() == 3


def test_who_is_refused_is_ended_again_with_a_pause_until_taken_off() -> None:
    table = Table()
    table.sweep()
    table.verifier = ChainVerifier(H.bundle, H.crls([table.leaves[0]], number=2))
    for seconds in (0, 0.1, 0.1, 0.1):
        table.seconds += seconds
        table.sweep()
    assert table.ended == ["0 CERTIFICATE_REVOKED"] * 2
    table.streams.remove(0)
    table.seconds += 1
    table.sweep()
    assert len(table.ended) == 2


@pytest.mark.parametrize("error", [RuntimeError("no end"), KeyError(1)])
def test_one_that_can_not_be_ended_keeps_no_other_running(error: Exception) -> None:
    table = Table()

    def fail(_: Refusal) -> None:
        raise error

    table.add("bad", table.leaves[0], fail)
    table.seconds += 1
    table.policy = None
    table.sweep()
    assert len(table.ended) == 3


def test_telling_that_fails_ends_nothing() -> None:
    table = Table()
    table.sweep()
    streams = table.streams

    def fail(_: CallVerdict) -> None:
        raise RuntimeError("a log failed")

    streams._record = fail
    table.policy = None
    table.sweep()
    flush()
    assert len(table.ended) == 3


def test_streams_that_have_ended_leave_no_times_behind() -> None:
    table = Table()
    for _ in range(5000):
        number = table.add("short", table.leaves[0])
        if number % 100 == 0:
            table.sweep()
        table.streams.remove(number)
    table.sweep()
    assert len(table.streams._due) <= 1024 + 2 * 3
