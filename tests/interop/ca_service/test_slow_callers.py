"""Followers that don't read what they are sent, and callers that don't finish what they send."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

import pki
from pki._proto.handfast.ca.v1 import authority_pb2, trust_pb2, trust_pb2_grpc
from pki.ca_client.received import read_crl
from pki.identity import SpiffeId
from tests.ca_service import Served
from tests.interop.ca_service.test_followers import enrolled
from tests.interop.ca_service.test_jumping_clocks import known, renews
from tests.interop.shop import eventually

SLOW = 12
LISTED = 100  # a list of so many is longer than what a slow follower takes unread
# What HTTP/2 lets the other side send before it is read.
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]


@contextmanager
def slow_channel(ca: Served, folder: Path) -> Iterator[grpc.Channel]:
    """Connect a workload whose connection takes little that is not read."""
    ca.authority.issue("slow").save(folder / "slow")
    with pki.Workload.from_directory(folder / "slow") as me:
        arguments = me.channel_arguments(SpiffeId.of_ca(me.spiffe_id.trust_domain))
        arguments["options"] = [*arguments["options"], *SMALL_WINDOW]
        with grpc.secure_channel(ca.address, **arguments) as channel:
            yield channel


def test_followers_that_read_nothing_hold_up_no_other(ca: Served, tmp_path: Path) -> None:
    counters = ca.service.parts.counters
    revoked = {ca.authority.issue(f"web-{place}").leaf.serial_number for place in range(LISTED)}
    with slow_channel(ca, tmp_path) as channel, enrolled(ca, tmp_path / "orders") as good:
        stub = trust_pb2_grpc.TrustStub(channel)
        streams = [stub.WatchTrust(trust_pb2.WatchTrustRequest()) for _ in range(SLOW)]
        for stream in streams:
            next(stream)
        assert eventually(lambda: counters.followers == 1 + SLOW)
        ca.authority.revoke_all(sorted(revoked))
        assert eventually(lambda: revoked <= known(good), 20)
        assert eventually(lambda: not ca.service.parts.feed.state.unlisted, 20)
        later = ca.authority.issue("later").leaf.serial_number
        ca.authority.revoke(later)
        assert eventually(lambda: later in known(good), 20)
        assert renews(good)
        # One that reads on is told too: by an announcement, or by a list that was signed meanwhile.
        assert eventually(lambda: later in told(streams[0]), 20)
        for stream in streams:
            stream.cancel()
        assert eventually(lambda: counters.followers == 1, 20)


def told(stream: Any) -> set[int]:
    """Return the serial numbers in the next update of a stream."""
    update = next(stream)
    announced = {int.from_bytes(item.serial, "big") for item in update.revocations.entries}
    if not update.crl.data:
        return announced
    assert not update.crl.more
    return announced | read_crl(update.crl.data).revoked


def test_callers_that_never_finish_their_message_hold_up_no_renewal(
    ca: Served, tmp_path: Path
) -> None:
    ending = threading.Event()

    def begin_only() -> Iterator[authority_pb2.RevokeRequest]:
        ending.wait(60)
        yield from ()

    with slow_channel(ca, tmp_path) as channel, enrolled(ca, tmp_path / "orders") as good:
        for method in ("Renew", "Revoke", "IssueBatch"):
            call: Any = channel.stream_unary(f"/handfast.ca.v1.Authority/{method}")
            for _ in range(20):
                call.future(begin_only())
        try:
            assert renews(good)
            assert good.revoke_own("superseded")
            assert eventually(lambda: bool(good.refused), 20)
        finally:
            ending.set()
