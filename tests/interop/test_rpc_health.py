"""gRPC's own services behind the gate: health, public or granted, and reflection, granted."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as aio_health
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection,
    reflection_pb2,
    reflection_pb2_grpc,
)

import pki
from pki.errors import InputError, StateError
from tests.interop.shop import (
    POLICY,
    SECONDS,
    Shop,
    eventually,
    reason,
    refused,
    revoke,
)

KINDS = pytest.mark.parametrize("kind", ["aio", "sync"])
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@contextmanager
def aio_server(me: pki.Workload, **how: Any) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> tuple[grpc.aio.Server, int]:
        server = me.server(**how)
        servicer = aio_health.HealthServicer()
        await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        reflection.enable_server_reflection((health.SERVICE_NAME,), server)
        port = server.add_secure_port("127.0.0.1:0")
        await server.start()
        return server, port

    server, port = asyncio.run_coroutine_threadsafe(begin(), loop).result(SECONDS)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(0.2), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def sync_server(me: pki.Workload, **how: Any) -> Iterator[str]:
    with ThreadPoolExecutor(max_workers=8) as pool:
        server = me.sync_server(pool, **how)
        servicer = health.HealthServicer()
        servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        reflection.enable_server_reflection((health.SERVICE_NAME,), server)
        port = server.add_secure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0.2).wait()


def server(kind: str, me: pki.Workload, **how: Any) -> Any:
    return aio_server(me, **how) if kind == "aio" else sync_server(me, **how)


def check(channel: grpc.Channel) -> str:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def raw_call(channel: grpc.Channel, path: str) -> bytes:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return call(b"", timeout=SECONDS)


def watched(channel: grpc.Channel) -> Any:
    stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert next(stream).status == health_pb2.HealthCheckResponse.SERVING
    return stream


def services_of(channel: grpc.Channel) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([ask]), timeout=SECONDS)
    return [service.name for service in answer.list_services_response.service]


def granted(method: str, role: str = "caller") -> str:
    return f'{POLICY}[[grant]]\nrole = "{role}"\nmethods = ["{method}"]\n'


@KINDS
def test_health_needs_a_grant_unless_it_is_called_public(shop: Shop, kind: str) -> None:
    shop.write_policy(granted("/grpc.health.v1.Health/Check"))
    with (
        shop.workload("server") as me,
        server(kind, me) as target,
        shop.workload("caller", policy=None) as caller,
        shop.workload("stranger", policy=None) as stranger,
        caller.sync_channel(target, peer="server") as channel,
        stranger.sync_channel(target, peer="server") as other,
    ):
        assert check(channel) == "SERVING"
        assert refused(lambda: watched(channel)) == "METHOD_NOT_GRANTED"
        assert refused(lambda: check(other)) == "NO_ROLE"


@KINDS
def test_public_health_is_answered_to_a_peer_without_a_role_and_nothing_else_is(
    shop: Shop, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, logger="handfast.decisions"),
        shop.workload("server") as me,
        server(kind, me, health="public", decision_log="on-allow") as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        assert check(channel) == "SERVING"
        watched(channel).cancel()
        # Let through; the servicer of grpcio does not have it.
        listing = partial(raw_call, channel, "/grpc.health.v1.Health/List")
        assert refused(listing) == "UNIMPLEMENTED"
        for path in (
            "/grpc.health.v1.Health/check",
            "//grpc.health.v1.Health/Check",
            "/grpc.health.v1.Health/Reset",
            "/grpc.health.v2.Health/Check",
        ):
            assert refused(partial(raw_call, channel, path)) == "NO_ROLE"
        assert refused(lambda: services_of(channel)) == "NO_ROLE"
    lines = [
        json.loads(item.getMessage())
        for item in caplog.records
        if item.name == "handfast.decisions"
    ]
    assert [line["matched_rule"] for line in lines] == ["health = public"] * 3
    assert {(line["authorized"], line["audited"]) for line in lines} == {(True, False)}


@KINDS
def test_public_health_is_for_accepted_certificates_alone(shop: Shop, kind: str) -> None:
    roots = (shop.home / "ca" / "bundle.pem").read_bytes()
    pinned = [("grpc.ssl_target_name_override", "server.shop.internal")]
    with (
        shop.workload("server") as me,
        server(kind, me, health="public") as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        with grpc.secure_channel(target, grpc.ssl_channel_credentials(roots), pinned) as nobody:
            assert refused(lambda: check(nobody)) == "UNAVAILABLE"
        stream = watched(channel)
        revoke(shop, "stranger")
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        assert reason(caught.value) in {"CERTIFICATE_REVOKED", "CANCELLED"}
        assert refused(lambda: check(channel)) == "CERTIFICATE_REVOKED"


def test_public_health_needs_a_policy_in_force(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        sync_server(me, health="public") as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        assert check(channel) == "SERVING"
        shop.policy.unlink()

        def gone() -> bool:
            try:
                check(channel)
            except grpc.RpcError as error:
                return reason(error) == "POLICY_UNAVAILABLE"
            return False

        assert eventually(gone)


def test_another_word_for_health_is_refused(shop: Shop) -> None:
    with shop.workload("server") as me:
        for word in ("Public", "open", ""):
            with pytest.raises(InputError, match="health"):
                me.sync_server(health=word)


@KINDS
def test_reflection_is_refused_without_a_grant_and_served_with_one(shop: Shop, kind: str) -> None:
    shop.write_policy(granted(REFLECT))
    with (
        shop.workload("server") as me,
        server(kind, me, health="public") as target,
        shop.workload("caller", policy=None) as caller,
        shop.workload("reader", policy=None) as reader,
        caller.sync_channel(target, peer="server") as channel,
        reader.sync_channel(target, peer="server") as other,
    ):
        assert "grpc.health.v1.Health" in services_of(channel)
        assert refused(lambda: services_of(other)) == "METHOD_NOT_GRANTED"


# Readiness: what makes calls fail shows in health


class Watching:
    """What a health servicer of either kind was told, in a server of that kind."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def set(self, service: str, status: int) -> None:
        assert service == ""
        self.told.append(status)


class AioWatching(Watching):
    async def set(self, service: str, status: int) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().set(service, status)


SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def fall(shop: Shop, cause: str) -> None:
    if cause == "stale lists":
        shop.clock.move(days=8)
    else:
        revoke(shop, "server")


@pytest.mark.parametrize("cause", ["stale lists", "own certificate revoked"])
def test_health_says_when_calls_cant_succeed_and_when_they_can_again(
    shop: Shop, cause: str
) -> None:
    told = Watching()
    with shop.workload("server", shifted=True) as me:
        me.report_health(told)
        assert eventually(lambda: told.told == [SERVING])
        fall(shop, cause)
        assert eventually(lambda: told.told == [SERVING, NOT_SERVING])
        if cause == "stale lists":
            shop.clock.move(days=-8)
            assert eventually(lambda: told.told == [SERVING, NOT_SERVING, SERVING])


def test_health_says_when_the_workload_was_closed(shop: Shop) -> None:
    told = Watching()
    with shop.workload("server") as me:
        me.report_health(told)
        assert eventually(lambda: told.told == [SERVING])
    assert told.told == [SERVING, NOT_SERVING]


def test_health_of_an_asyncio_server_is_kept_too(shop: Shop) -> None:
    async def play() -> None:
        told = AioWatching()
        async with shop.workload("server", shifted=True) as me:
            me.report_health(told)
            for _ in range(200):
                await asyncio.sleep(0.02)
                if told.told:
                    break
            shop.clock.move(days=8)
            for _ in range(200):
                await asyncio.sleep(0.02)
                if len(told.told) > 1:
                    break
            assert told.told == [SERVING, NOT_SERVING]

    asyncio.run(play())


async def reported(servicer: aio_health.HealthServicer, wanted: int) -> None:
    request = health_pb2.HealthCheckRequest()
    async with asyncio.timeout(SECONDS):
        while (await servicer.Check(request, None)).status != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_a_workload_that_is_closed_on_its_own_event_loop_is_reported_there(shop: Shop) -> None:
    async def play() -> None:
        servicer = aio_health.HealthServicer()
        me = shop.workload("server")
        me.report_health(servicer)
        await reported(servicer, health_pb2.HealthCheckResponse.SERVING)
        me.close()
        await reported(servicer, health_pb2.HealthCheckResponse.NOT_SERVING)

    asyncio.run(play())
    assert eventually(
        lambda: not any(item.name == "handfast-health" for item in threading.enumerate())
    )


def test_a_closed_workload_reports_no_health(shop: Shop) -> None:
    me = shop.workload("server")
    me.close()
    with pytest.raises(StateError, match="is closed"):
        me.report_health(health.HealthServicer())
    assert not any(item.name == "handfast-health" for item in threading.enumerate())
