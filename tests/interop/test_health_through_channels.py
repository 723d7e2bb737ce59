"""A health check through a channel of ours needs a ``served_by``, and its refusal says so."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.interop.shop import SECONDS, Shop, reason
from tests.interop.test_rpc_health import KINDS, check, granted, server

CHECK = "/grpc.health.v1.Health/Check"


def documented_rule() -> str:
    """Return the ``served_by`` for health checks as docs/policy.md prints it."""
    page = Path("docs/policy.md").read_text().partition("## Health and reflection")[2]
    (rule,) = re.findall(r"```toml\n(.*?)```", page.partition("\n## ")[0], re.DOTALL)
    return str(rule).replace('"fleet"', '"server"')


@KINDS
@pytest.mark.parametrize("channel_kind", ["sync", "aio"])
def test_a_check_without_served_by_is_refused_with_what_to_add(
    shop: Shop, kind: str, channel_kind: str
) -> None:
    shop.write_policy(granted(CHECK))
    with (
        shop.workload("server") as me,
        server(kind, me) as target,
        shop.workload("caller") as caller,
    ):

        async def check_aio() -> None:
            async with caller.channel(target, peer="server") as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)

        def check_sync() -> None:
            with caller.sync_channel(target, peer="server") as channel:
                check(channel)

        checks = {"aio": lambda: asyncio.run(check_aio()), "sync": check_sync}
        with pytest.raises(grpc.RpcError) as caught:
            checks[channel_kind]()
        assert reason(caught.value) == "SERVER_ROLE_MISSING"
        details = caught.value.details() or ""
        assert "no [[served_by]] for grpc.health.v1.Health" in details
        assert "spiffe://shop.internal/server" in details


@KINDS
def test_the_documented_rule_is_what_it_needs(shop: Shop, kind: str) -> None:
    shop.write_policy(granted(CHECK) + documented_rule())
    with (
        shop.workload("server") as me,
        server(kind, me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        assert check(channel) == "SERVING"


def test_a_server_of_another_role_is_named_so(shop: Shop) -> None:
    rule = documented_rule().replace('"server"', '"caller"')
    shop.write_policy(granted(CHECK) + rule)
    with (
        shop.workload("server") as me,
        server("sync", me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        check(channel)
    assert reason(caught.value) == "SERVER_ROLE_MISSING"
    assert "may not answer grpc.health.v1.Health: by [[served_by]]" in str(caught.value.details())
