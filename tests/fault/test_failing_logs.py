"""What tells of a decision (a log, a counter) neither saves nor ends anybody when it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

import pki
from pki.access.authorizer import CallAuthorizer
from pki.access.counters import Counters
from pki.access.ready_calls import ReadyCalls
from tests.interop.shop import Shop, ended, eventually, get_stock, refused, revoke, watch

NAMES = (
    "handfast",
    "handfast.access",
    "handfast.credentials",
    "handfast.rpc",
    "handfast.decisions",
)


class Raising(logging.Handler):
    """A handler of the user's that fails, in the way that logging does not catch."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def handle(self, record: logging.LogRecord) -> bool:
        raise self._error


class Blocking(logging.Handler):
    """A handler whose pipe nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()

    def handle(self, record: logging.LogRecord) -> bool:
        return self.over.wait()


def raising_filter(_record: logging.LogRecord) -> bool:
    raise RuntimeError("a filter failed")


@pytest.fixture(params=["handler", "handler that exits", "filter", "blocking"])
def bad_log(request: pytest.FixtureRequest) -> Iterator[None]:
    handler: logging.Handler | None = None
    blocking = Blocking()
    if request.param == "handler":
        handler = Raising(RuntimeError("a handler failed"))
    elif request.param == "handler that exits":
        handler = Raising(SystemExit(1))
    elif request.param == "blocking":
        handler = blocking
    for name in NAMES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        if handler is None:
            logger.addFilter(raising_filter)
        else:
            logger.addHandler(handler)
    yield
    blocking.over.set()
    for name in NAMES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.NOTSET)
        logger.removeFilter(raising_filter)
        if handler is not None:
            logger.removeHandler(handler)


@pytest.mark.parametrize("kind", ["aio", "sync"])
@pytest.mark.usefixtures("bad_log")
def test_a_log_that_fails_keeps_no_revoked_stream_alive(shop: Shop, kind: str) -> None:
    second = shop.home / "second"
    shop.ca.issue("caller").save(second)
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
        pki.Workload.from_directory(second, policy=shop.policy) as other,
        other.sync_channel(address, peer="server") as neighbour,
    ):
        # One after the other: whatever brought the first revocation brings the second too.
        for used, workload in ((channel, caller), (neighbour, other)):
            stream = watch(used)
            shop.ca.revoke(workload.credential.leaf.serial_number)
            shop.bring_trust()
            assert eventually(lambda: not stream.is_active()), "it is over"  # noqa: B023
            assert ended(stream) in {"CERTIFICATE_REVOKED", "CANCELLED"}


@pytest.mark.parametrize("kind", ["aio", "sync"])
@pytest.mark.parametrize("counter", ["count_call", "count_stream_ended"])
def test_a_counter_that_fails_neither_saves_nor_ends_anybody(
    shop: Shop, kind: str, counter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("a counter failed")

    monkeypatch.setattr(Counters, counter, failing)
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream = watch(channel)
        assert get_stock(channel) > 0
        revoke(shop, "caller")
        assert ended(stream) in {"CERTIFICATE_REVOKED", "CANCELLED"}
        assert refused(lambda: get_stock(channel)) == "CERTIFICATE_REVOKED"


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_a_judge_that_fails_refuses_and_says_nothing_of_it_to_the_caller(
    shop: Shop, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        broken: Callable[..., Any] = lambda *_: 1 / 0  # noqa: E731 - what fails, whatever it is
        monkeypatch.setattr(CallAuthorizer, "_authorize", broken)
        monkeypatch.setattr(ReadyCalls, "get", lambda *_: None)
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "division" not in str(caught.value.details())
        assert eventually(lambda: "division by zero" in caplog.text)
        monkeypatch.undo()
        assert get_stock(channel) > 0
