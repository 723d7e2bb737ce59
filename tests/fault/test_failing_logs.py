"""What tells of a decision (a log, a counter) neither saves nor ends anybody when it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from pki.rpc.counting import Counts
from pki.rpc.judge import Judge
from tests.interop.shop import Shop, ended, eventually, get_stock, refused, revoke, watch

NAMES = ("handfast.rpc", "handfast.decisions")


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
        return self.over.wait(30)


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
        if handler is None:
            logger.addFilter(raising_filter)
        else:
            logger.addHandler(handler)
    yield
    blocking.over.set()
    for name in NAMES:
        logger = logging.getLogger(name)
        logger.removeFilter(raising_filter)
        if handler is not None:
            logger.removeHandler(handler)


@pytest.mark.parametrize("kind", ["aio", "sync"])
@pytest.mark.usefixtures("bad_log")
def test_a_log_that_fails_keeps_no_revoked_stream_alive(shop: Shop, kind: str) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me, decision_log="none") as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
        shop.workload("reader") as reader,
        reader.sync_channel(address, peer="server") as other,
    ):
        stream = watch(channel)
        assert get_stock(other) > 0
        revoke(shop, "caller")
        assert ended(stream) in {"CERTIFICATE_REVOKED", "CANCELLED"}
        # Another one after it: whatever followed the first revocation follows the second too.
        revoke(shop, "reader")
        assert eventually(lambda: is_revoked(other))


def is_revoked(channel: grpc.Channel) -> bool:
    try:
        get_stock(channel)
    except grpc.RpcError:
        return True
    return False


@pytest.mark.parametrize("kind", ["aio", "sync"])
@pytest.mark.parametrize("counter", ["judged", "stream_ended"])
def test_a_counter_that_fails_neither_saves_nor_ends_anybody(
    shop: Shop, kind: str, counter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("a counter failed")

    monkeypatch.setattr(Counts, counter, failing)
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
        monkeypatch.setattr(Judge, "_judge", broken)
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "division" not in str(caught.value.details())
        assert eventually(lambda: "division by zero" in caplog.text)
        monkeypatch.undo()
        assert get_stock(channel) > 0
