"""One workload that begins many streams, or large ones, takes nothing from others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pki
from pki._proto.handfast.ca.v1 import trust_pb2, trust_pb2_grpc
from pki.identity import SpiffeId
from tests.ca_service import Served
from tests.interop.asking import refused
from tests.interop.ca_service.test_followers import enrolled
from tests.interop.shop import eventually


@contextmanager
def trust(ca: Served, folder: Path) -> Iterator[trust_pb2_grpc.TrustStub]:
    ca.authority.issue("busy").save(folder / "busy")
    with pki.Workload.from_directory(folder / "busy") as me:
        peer = SpiffeId.of_ca(me.spiffe_id.trust_domain)
        with me.sync_channel(ca.address, peer=peer) as channel:
            yield trust_pb2_grpc.TrustStub(channel)


def begin_until_refused(stub: trust_pb2_grpc.TrustStub) -> None:
    # 20 places are left, and a slow machine needs more: each second adds one.
    for _ in range(500):
        next(stub.WatchTrust(trust_pb2.WatchTrustRequest()))


def test_of_one_certificates_streams_the_newest_run(ca: Served, tmp_path: Path) -> None:
    counters = ca.service.parts.counters
    with trust(ca, tmp_path) as stub, enrolled(ca, tmp_path / "orders") as other:
        assert eventually(lambda: counters.followers == 1)
        streams: list[Any] = []
        for _ in range(40):
            streams.append(stub.WatchTrust(trust_pb2.WatchTrustRequest()))
            next(streams[-1])
        assert eventually(lambda: counters.followers == 1 + 16)
        assert [next(stream).WhichOneof("update") for stream in streams[-16:]]
        assert refused(lambda: begin_until_refused(stub)) == "BUDGET_EXHAUSTED"
        assert other.cut_off_since is None


@pytest.mark.parametrize("part", ["lists", "epoch"])
def test_what_a_follower_says_of_itself_is_limited(ca: Served, tmp_path: Path, part: str) -> None:
    request = trust_pb2.WatchTrustRequest(epoch="x" * 1_000_000 if part == "epoch" else "")
    for number in range(50_000 if part == "lists" else 0):
        request.crls.add(issuer_key_id=number.to_bytes(20, "big"), number=1)
    with trust(ca, tmp_path) as stub:
        assert refused(lambda: next(stub.WatchTrust(request))) == "REQUEST_INVALID"
