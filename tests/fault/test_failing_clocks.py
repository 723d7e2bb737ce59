"""A clock of the user's that fails: nobody is judged by it, so nobody is served."""

from __future__ import annotations

from datetime import datetime

import grpc
import pytest

import pki
from pki.clock import system_clock
from tests.interop.shop import Shop, ended, get_stock, watch


class FailingClock:
    def __init__(self) -> None:
        self.fails = False

    def __call__(self) -> datetime:
        if self.fails:
            raise OSError("words for nobody else")
        return system_clock()


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_a_clock_that_fails_serves_nobody_and_keeps_no_stream_alive(shop: Shop, kind: str) -> None:
    clock = FailingClock()
    with (
        pki.Workload.from_directory(
            shop.directory("server"), policy=shop.policy, clock=clock
        ) as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream = watch(channel)
        clock.fails = True
        try:
            with pytest.raises(grpc.RpcError) as caught:
                get_stock(channel)
            assert "words" not in str(caught.value.details())
            assert ended(stream) in {"AUTHORIZATION_ERROR", "CANCELLED"}
        finally:
            clock.fails = False
        assert get_stock(channel) > 0
