"""A policy that is written for another trust domain is refused: by it, nobody would have a role."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pki
from pki.errors import PolicyError
from tests.interop.shop import POLICY, Shop, eventually, get_stock

OTHER = POLICY.replace("shop.internal", "other.internal")
WORDS = r"written for the trust domain .*other\.internal, and used by .*shop\.internal"


@pytest.fixture
def other(shop: Shop) -> Path:
    path = shop.home / "other.toml"
    path.write_text(OTHER)
    return path


def test_a_workload_does_not_start_with_it(shop: Shop, other: Path) -> None:
    with pytest.raises(PolicyError, match=WORDS) as caught:
        shop.workload("server", policy=other)
    assert "other.toml" in str(caught.value)
    assert 'trust_domain = "other.internal"' in caught.value.remedy


Use = Callable[[pki.Workload, Path], object]
USES: dict[str, Use] = {
    "server": lambda me, policy: me.server(policy=policy),
    "sync_server": lambda me, policy: me.sync_server(policy=policy),
    "interceptor": lambda me, policy: me.interceptor(policy),
    "sync_interceptor": lambda me, policy: me.sync_interceptor(policy),
    "channel": lambda me, policy: me.channel("127.0.0.1:1", peer="server", policy=policy),
    "sync_channel": lambda me, policy: me.sync_channel("127.0.0.1:1", peer="server", policy=policy),
}


@pytest.mark.parametrize("use", USES)
def test_nothing_is_made_with_it(shop: Shop, other: Path, use: str) -> None:
    with shop.workload("server") as me:
        for _ in range(2):
            with pytest.raises(PolicyError, match=WORDS):
                USES[use](me, other)
        assert me.problems == ()


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_a_running_server_keeps_its_policy_if_the_new_one_is_for_another_domain(
    shop: Shop, kind: str
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        shop.write_policy(OTHER)
        assert eventually(lambda: any("other.internal" in problem for problem in me.problems))
        assert get_stock(channel) > 0
        shop.write_policy(POLICY)
        assert eventually(lambda: me.problems == ())
        assert get_stock(channel) > 0


def test_a_channel_may_use_the_policy_of_its_server_s_domain(shop: Shop, other: Path) -> None:
    # The server's domain is not trusted here, and that is what is wrong: not the policy.
    with shop.workload("caller") as caller, pytest.raises(pki.PkiError, match="trust bundle"):
        caller.sync_channel("127.0.0.1:1", peer="spiffe://other.internal/server", policy=other)
