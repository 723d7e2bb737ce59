"""What followers are sent is made once for all who lack the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki._proto.handfast.ca.v1 import trust_pb2
from pki.daemon.follower import Follower
from pki.daemon.trust_feed import TrustFeed, TrustState
from tests.support import make_authority


@pytest.fixture
def state(tmp_path: Path) -> TrustState:
    with make_authority(tmp_path) as ca:
        ca.context.signs_lists_later = True
        for number in range(100):
            ca.revoke(ca.issue(f"orders/{number}").leaf.serial_number)
        return TrustFeed(ca.context, lambda: None, lambda _: None).state


def sent(state: TrustState, since: int = 0) -> list[trust_pb2.TrustUpdate]:
    request = trust_pb2.WatchTrustRequest(since=since, epoch=state.ledger.ledger_id)
    ends_at = next(iter(state.crls.values())).next_update
    return list(Follower(request, ends_at).updates(state))


def of_kind(updates: list[trust_pb2.TrustUpdate], kind: str) -> list[trust_pb2.TrustUpdate]:
    return [item for item in updates if item.WhichOneof("update") == kind]


@pytest.mark.parametrize("kind", ["revocations", "crl"])
def test_two_followers_who_lack_the_same_are_sent_the_same_messages(
    state: TrustState, kind: str
) -> None:
    one, other = of_kind(sent(state), kind), of_kind(sent(state), kind)
    assert one
    assert all(mine is theirs for mine, theirs in zip(one, other, strict=True))


def test_each_follower_is_sent_what_it_lacks_and_little_of_it_is_kept(state: TrustState) -> None:
    for since in range(100):
        (update,) = of_kind(sent(state, state.newest - since - 1), "revocations")
        assert len(update.revocations.entries) == since + 1
    assert len(state.messages) <= 64
