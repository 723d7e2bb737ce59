"""A follower of the CA's stream, beside streams that end, hang and fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import grpc
from google.rpc import error_details_pb2, status_pb2

from pki._proto.handfast.ca.v1 import trust_pb2
from pki.ca_client.storage.announced_store import AnnouncedUntil
from pki.ca_client.trust_follower import TrustFollower
from pki.clock import system_clock
from pki.x509 import CrlSet
from pki.x509.revocation import Announced
from tests.interop.shop import eventually

Updates = list[trust_pb2.TrustUpdate]


class EndedError(grpc.RpcError):
    """The end of a stream."""


class RefusedError(grpc.RpcError):
    """The end of a stream, as the CA ends it for a certificate that was revoked."""

    def trailing_metadata(self) -> Any:
        status = status_pb2.Status(code=grpc.StatusCode.PERMISSION_DENIED.value[0])
        info = error_details_pb2.ErrorInfo(reason="CERTIFICATE_REVOKED", domain="handfast")
        status.details.add().Pack(info)
        return (("grpc-status-details-bin", status.SerializeToString()),)


class Stream:
    """A stream that sends some updates, and then ends or says nothing more."""

    def __init__(self, updates: Updates, *, hangs: bool) -> None:
        self._updates = updates
        self._hangs = hangs
        self._cancelled = threading.Event()

    def __iter__(self) -> Iterator[trust_pb2.TrustUpdate]:
        yield from self._updates
        if self._hangs:
            self._cancelled.wait(30)
        raise EndedError

    def cancel(self) -> None:
        self._cancelled.set()


class Trust:
    """What the follower keeps up to date."""

    def __init__(self) -> None:
        self.anchor = SimpleNamespace(number=1)
        self.lists = CrlSet.none()
        self.announced: set[Announced] = set()
        self.directory = "'orders'"

    def accept(self, crls: CrlSet, announced: AnnouncedUntil | None = None) -> None:
        del crls
        self.announced |= set(announced or ())

    def settle(self) -> None:
        """Do nothing."""


def heartbeat(sequence: int) -> trust_pb2.TrustUpdate:
    made = trust_pb2.TrustUpdate(sequence=sequence, epoch="e")
    made.heartbeat.next_within_milliseconds = 100
    return made


def revocation(sequence: int) -> trust_pb2.TrustUpdate:
    made = trust_pb2.TrustUpdate(sequence=sequence, epoch="e")
    made.revocations.entries.add(issuer_key_id=b"k", serial=bytes([sequence]))
    return made


@contextmanager
def following(
    trust: Trust, watch: Callable[[trust_pb2.WatchTrustRequest], Stream], **how: Any
) -> Iterator[TrustFollower]:
    connection: Any = SimpleNamespace(trust=SimpleNamespace(WatchTrust=watch))
    follower = TrustFollower(cast("Any", trust), lambda: connection, system_clock, **how)
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()


def test_a_stream_that_ends_after_its_first_word_loses_no_revocation() -> None:
    trust = Trust()
    known: list[int] = []

    def watch(request: trust_pb2.WatchTrustRequest) -> Stream:
        known.append(request.since)
        if len(known) == 1:
            return Stream([heartbeat(1)], hangs=False)
        later = [revocation(number) for number in (1, 2) if number > request.since]
        if len(known) == 2:
            return Stream([heartbeat(2), *later[:1]], hangs=False)
        return Stream([heartbeat(2), *later, heartbeat(2)], hangs=True)

    with following(trust, watch):
        assert eventually(lambda: trust.announced == {(b"k", 1), (b"k", 2)})
    assert known[:3] == [0, 0, 1]


def test_who_hears_only_the_first_word_of_each_stream_knows_that_it_is_cut_off() -> None:
    with following(Trust(), lambda _: Stream([heartbeat(1)], hangs=False)) as follower:
        assert eventually(lambda: follower.cut_off_since is not None, 5)


def test_streams_that_hang_one_after_the_other_are_ended_each() -> None:
    begun: list[int] = []

    def watch(request: trust_pb2.WatchTrustRequest) -> Stream:
        begun.append(request.since)
        return Stream([heartbeat(1)] if len(begun) == 1 else [], hangs=True)

    with following(Trust(), watch):
        assert eventually(lambda: len(begun) > 3, 15)


def test_a_channel_that_was_closed_does_not_end_the_follower() -> None:
    begun: list[int] = []

    def watch(request: trust_pb2.WatchTrustRequest) -> Stream:
        begun.append(request.since)
        if len(begun) < 3:
            raise ValueError("Cannot invoke RPC on closed channel!")
        return Stream([heartbeat(1), heartbeat(1)], hangs=True)

    with following(Trust(), watch) as follower:
        assert eventually(lambda: follower.sequence == 1, 10)


def test_a_refusal_is_told_after_the_proof_of_it_was_asked_for_and_again_until_it_came() -> None:
    refused_before: list[str] = []

    def fetch_proof() -> bool:
        refused_before.append(followers[0].refused)
        if len(refused_before) == 1:
            raise ValueError("no file is left")
        return len(refused_before) == 3

    followers: list[TrustFollower] = []

    def watch(_: trust_pb2.WatchTrustRequest) -> Stream:
        assert started.wait(10)
        raise RefusedError

    started = threading.Event()
    with following(Trust(), watch, fetch_proof=fetch_proof) as follower:
        followers.append(follower)
        started.set()
        assert eventually(lambda: len(refused_before) == 3, 15)
        assert follower.refused == "its certificate was revoked"
    assert refused_before == ["", "its certificate was revoked", "its certificate was revoked"]
