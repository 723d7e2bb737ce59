"""Credential, lists, policy and ports are followed apart: one that fails holds up no other."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import pki
from pki.files import load_crls
from pki.files.layouts import HANDFAST
from pki.rpc.server.access_control import AccessControl
from pki.x509 import Credential, CrlSet, RevocationMode
from tests.interop.shop import Shop, eventually, get_stock, refused, revoke, soon, watch

BAD = {
    "raises something of its own": RuntimeError("a fault of the source's own"),
    "raises the system's": OSError(5, "Input/output error"),
    "exits": SystemExit(1),
    "never answers": None,
}


class Failing:
    """A source of the user's own that goes bad when it is told to."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._credential = shop.ca.issue("server").credential
        self.over = threading.Event()
        self.bad: dict[str, BaseException | None] = {}
        self.threads: set[str] = set()
        self.on_loop = False
        self.changed: Callable[[], None] = lambda: None

    name = "a source of the test's"
    revocation = RevocationMode.REQUIRED

    def _do(self, step: str) -> None:
        self.threads.add(threading.current_thread().name)
        try:
            asyncio.get_running_loop()
            self.on_loop = True
        except RuntimeError:
            pass
        if step in self.bad:
            error = self.bad[step]
            if error is None:
                self.over.wait(60)
            else:
                raise error

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        self._do("load")
        return self._credential, ()

    def crls(self) -> CrlSet | None:
        self._do("crls")
        return load_crls(self._shop.home / "ca", HANDFAST)

    def folders(self) -> Iterable[Path]:
        self._do("folders")
        return ()

    def subscribe(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def load_stored_crls(self) -> CrlSet | None:
        self._do("load_stored_crls")
        return None

    def store_crls(self, crls: CrlSet) -> None:
        self._do("store_crls")


@pytest.fixture
def source(shop: Shop) -> Iterator[Failing]:
    made = Failing(shop)
    yield made
    made.over.set()


@pytest.mark.parametrize("step", ["load", "crls", "folders", "store_crls"])
@pytest.mark.parametrize("way", BAD)
def test_a_source_that_goes_bad_holds_up_no_policy_and_no_revocation(
    shop: Shop, source: Failing, step: str, way: str
) -> None:
    with (
        pki.Workload.from_source(source, policy=shop.policy) as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        source.bad[step] = BAD[way]
        good = shop.policy.read_text()
        for _ in range(2):
            shop.write_policy(good.replace('"/shop.v1.Inventory/*", ', ""))
            assert soon(channel, "METHOD_NOT_GRANTED")
            shop.write_policy(good)
            assert soon(channel, "ALLOWED")
        if step != "crls":
            shop.ca.revoke(caller.credential.leaf.serial_number)
            threading.Thread(target=source.changed, daemon=True).start()
            assert soon(channel, "CERTIFICATE_REVOKED")
        elif BAD[way] is not None:
            source.changed()
            assert eventually(lambda: any("revocation lists" in item for item in me.problems))
            source.bad.clear()
            source.changed()
            assert eventually(lambda: not me.problems)
        source.over.set()


def test_nothing_of_a_source_runs_on_an_event_loop(shop: Shop, source: Failing) -> None:
    async def play() -> None:
        async with pki.Workload.from_source(source, policy=shop.policy) as me:
            source.changed()
            assert not me.reload(), "it does not wait here"
            assert await asyncio.to_thread(me.reload)

    asyncio.run(play())
    assert not source.on_loop
    assert "MainThread" not in source.threads


def test_a_source_that_is_elsewhere_and_cut_off_keeps_its_lists(
    shop: Shop, source: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pki.credentials.provider._RETRY_SECONDS", 0.05)
    with (
        pki.Workload.from_source(source, policy=shop.policy) as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        source.bad = {"load": OSError("no route"), "crls": OSError("no route")}
        source.changed()
        assert eventually(lambda: len(me.problems) == 2)
        assert get_stock(channel) > 0
        assert " ".join(me.problems).count("no route") == 2


# What makes calls fail is known


def test_stale_lists_and_an_own_leaf_that_has_ended_are_problems(shop: Shop) -> None:
    with shop.workload("server", shifted=True) as me:
        assert me.problems == ()
        shop.clock.move(days=8)
        assert "own certificate would be refused" in " ".join(me.problems)
        shop.clock.move(days=-8)
        assert me.problems == ()


def test_an_own_leaf_that_is_revoked_is_a_problem(shop: Shop) -> None:
    with shop.workload("server") as me:
        revoke(shop, "server")
        assert eventually(lambda: any("revoked" in item for item in me.problems))


def test_a_credential_that_is_refused_is_a_problem_until_a_good_one_comes(shop: Shop) -> None:
    folder = shop.directory("server")
    with shop.workload("server") as me:
        chain = (folder / "chain.pem").read_bytes()
        (folder / "chain.pem").write_bytes(b"nonsense")
        assert eventually(lambda: any("credential of" in item for item in me.problems))
        (folder / "chain.pem").write_bytes(chain)
        assert eventually(lambda: me.problems == ())


# What a stopped server leaves behind


def access_controls_of(me: pki.Workload) -> int:
    return sum(isinstance(item, AccessControl) for item in me._provider._subscribers)


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_a_server_that_has_stopped_leaves_no_gate_behind(shop: Shop, kind: str) -> None:
    with shop.workload("server") as me, shop.workload("caller") as caller:
        for _ in range(3):
            with (
                shop.server(kind, me) as address,
                caller.sync_channel(address, peer="server") as channel,
            ):
                stream = watch(channel)
                assert access_controls_of(me) >= 1
                stream.cancel()
        assert eventually(lambda: access_controls_of(me) == 0)


def test_a_gate_that_nobody_holds_is_let_go(shop: Shop) -> None:
    with shop.workload("server") as me:
        gate = weakref.ref(me.sync_interceptor().access)
        gc.collect()
        assert gate() is None
        assert access_controls_of(me) == 0


# What a caller sends is bounded in what is sent back


@pytest.mark.parametrize("kind", ["aio", "sync"])
@pytest.mark.parametrize("name", ["caller", "stranger"])
def test_a_path_of_thousands_of_characters_is_refused_like_any_other(
    shop: Shop, kind: str, name: str
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload(name, policy=None) as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        found = set()
        for length in (10, 500, 4000, 7000):
            call: Any = channel.unary_unary("/shop.v1.Other/" + "m" * length)
            found.add(refused(lambda: call(b"", timeout=10)))  # noqa: B023
        assert found == {"METHOD_NOT_GRANTED" if name == "caller" else "NO_ROLE"}
        assert isinstance(channel, grpc.Channel)
