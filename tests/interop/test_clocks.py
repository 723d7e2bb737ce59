"""A clock that is wrong is named as the cause, on both sides."""

from __future__ import annotations

import grpc
import pytest

from pki.authority import Authority
from pki.errors import CredentialError
from tests.interop.seeds import Scene
from tests.interop.shop import Shop, get_stock
from tests.interop.test_explained_errors import details_of, refusing_server, scene

__all__ = ["scene"]


def test_a_clock_that_is_behind_is_to_be_set_and_nothing_to_be_renewed(shop: Shop) -> None:
    shop.clock.move(hours=-1)
    with pytest.raises(CredentialError) as caught:
        shop.workload("caller", shifted=True)
    assert "Set the clock" in caught.value.remedy
    assert "renew" not in caught.value.remedy.lower()


def test_a_certificate_that_has_ended_may_be_a_clock_that_is_ahead(shop: Shop) -> None:
    shop.clock.move(hours=2)
    with pytest.raises(CredentialError) as caught:
        shop.workload("caller", shifted=True)
    assert "renew" in caught.value.remedy
    assert "clock" in caught.value.remedy


def test_lists_of_a_time_to_come_are_told_from_old_ones(shop: Shop) -> None:
    # Signed by a CA whose clock is ahead: the certificates are of before.
    shop.clock.move(minutes=30)
    with Authority.open(shop.home / "ca", clock=shop.clock) as ahead:
        ahead.refresh_crls(force=True)
    for name in ("server", "caller"):
        shop.directory(name)
    shop.bring_trust()
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        get_stock(channel)
    assert "begin later than our clock says" in (caught.value.details() or "")


def test_a_server_that_refuses_without_a_word_may_have_another_clock(
    shop: Shop,
    scene: Scene,
) -> None:
    address = refusing_server(shop, scene)
    with (
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        get_stock(channel)
    assert "its bundle may lack our root" in details_of(caught)
    assert "a server whose clock is behind does not accept it yet" in details_of(caught)
    assert "Set the clocks of both machines by NTP" in details_of(caught)
