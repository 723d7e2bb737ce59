"""Where credentials come from other than a directory, and that no source relaxes a rule."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import pki
from pki import PemSource
from pki.clock import system_clock
from pki.credentials.reload_stats import ReloadResult
from pki.errors import CredentialError, InputError, PkiError
from pki.keys import generate_key, private_key_to_pem
from pki.x509 import Credential, CrlSet, RevocationMode
from pki.x509.readers import to_pem
from tests.interop.shop import SECONDS, Shop, ended, eventually, get_stock, refused, watch


def pem_of(credential: Credential) -> dict[str, Any]:
    crls = credential.crls
    return {
        "key": private_key_to_pem(credential.key),
        "chain": to_pem(credential.chain),
        "bundle": credential.bundle.to_pem(),
        "crls": to_pem([item.crl for item in crls.crls.values()]) if crls else None,
    }


def issued(shop: Shop, name: str, **how: Any) -> Credential:
    return shop.ca.issue(name, **how).credential


def test_pem_in_memory_serves_and_calls(shop: Shop) -> None:
    with (
        pki.Workload.from_pem(**pem_of(issued(shop, "server")), policy=shop.policy) as me,
        shop.sync_server(me) as address,
        pki.Workload.from_pem(**pem_of(issued(shop, "caller"))) as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        assert get_stock(channel) > 0


def test_pem_that_is_replaced_is_taken_up_at_once_by_servers_and_channels(shop: Shop) -> None:
    first, second = issued(shop, "server"), issued(shop, "server")
    source = PemSource(**pem_of(first))
    with (
        pki.Workload.from_source(source, policy=shop.policy) as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
    ):
        source.replace(**pem_of(second))
        assert me.credential.leaf == second.leaf
        with caller.sync_channel(address, peer="server") as channel:
            assert get_stock(channel) > 0
            (good,) = channel.connections.checks.accepted.values()
            assert good.leaf == second.leaf


def test_revocation_brought_as_pem_counts_at_once(shop: Shop) -> None:
    source = PemSource(**pem_of(issued(shop, "server")))
    with (
        pki.Workload.from_source(source, policy=shop.policy) as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        shop.ca.revoke(caller.credential.leaf.serial_number)
        crls = (shop.home / "ca" / "crl.pem").read_bytes()
        source.replace(**{**pem_of(me.credential), "crls": crls})
        assert refused(lambda: get_stock(channel)) == "CERTIFICATE_REVOKED"
        # Lists that are taken away are no way back.
        source.replace(**{**pem_of(me.credential), "crls": None})
        assert refused(lambda: get_stock(channel)) == "CERTIFICATE_REVOKED"


def bad_updates(shop: Shop, good: Credential) -> dict[str, Callable[[], dict[str, Any]]]:
    hour = timedelta(hours=1)
    return {
        "another SPIFFE ID": lambda: pem_of(issued(shop, "other")),
        "expired": lambda: pem_of(expired(shop, hour)),
        "half written": lambda: {**pem_of(good), "chain": pem_of(good)["chain"][:200]},
        "another key": lambda: {**pem_of(good), "key": private_key_to_pem(generate_key())},
        "no certificate": lambda: {**pem_of(good), "chain": b""},
        "an empty bundle": lambda: {**pem_of(good), "bundle": b""},
        "a key among the roots": lambda: {
            **pem_of(good),
            "bundle": pem_of(good)["bundle"] + pem_of(good)["key"],
        },
        "lists that are none": lambda: {**pem_of(good), "crls": b"nonsense"},
    }


def expired(shop: Shop, ago: timedelta) -> Credential:
    """Return a credential that was good once, of a CA that is good still."""
    past = shop.home / "past"
    with pki.Authority.create(
        past, "shop.internal", clock=lambda: system_clock() - 2 * ago
    ) as earlier:
        return earlier.issue("server", lifetime=ago).credential


@pytest.mark.parametrize(
    "case",
    [
        "another SPIFFE ID",
        "expired",
        "half written",
        "another key",
        "no certificate",
        "an empty bundle",
        "a key among the roots",
        "lists that are none",
    ],
)
def test_a_bad_update_is_refused_loudly_and_the_last_good_credential_kept(
    shop: Shop, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = issued(shop, "server")
    source = PemSource(**pem_of(good))
    bad = bad_updates(shop, good)[case]()
    with (
        pki.Workload.from_source(source, policy=shop.policy) as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
        caplog.at_level(logging.ERROR, "handfast.credentials"),
    ):
        try:
            source.replace(**bad)
        except PkiError:
            told = True
        else:
            told = "the one in use is kept" in caplog.text
        assert told
        assert me.credential.leaf == good.leaf
        assert get_stock(channel) > 0
        with caller.sync_channel(address, peer="server") as fresh:
            assert get_stock(fresh) > 0


def test_a_bad_first_credential_starts_nothing(shop: Shop) -> None:
    good = pem_of(issued(shop, "server"))
    for bad in (
        {**good, "key": private_key_to_pem(generate_key())},
        {**good, "chain": b""},
        {**good, "crls": None},
        pem_of(expired(shop, timedelta(hours=1))),
    ):
        with pytest.raises(PkiError):
            pki.Workload.from_pem(**bad)
    with pytest.raises(CredentialError, match="set revocation to when-present"):
        pki.Workload.from_pem(**{**good, "crls": None})
    with pytest.raises(InputError, match="revocation 'whatever' is unknown"):
        pki.Workload.from_pem(**good, revocation="whatever")
    pki.Workload.from_pem(**{**good, "crls": None}, revocation="short-lived").close()


class Vault:
    """A source as others would write one: it fetches from somewhere, and is told of news."""

    name = "the vault"
    revocation = RevocationMode.REQUIRED

    def __init__(self, credential: Credential) -> None:
        self.credential = credential
        self.down = False
        self.kept: CrlSet | None = None
        self.changed: Callable[[], None] = lambda: None

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        if self.down:
            raise CredentialError("the vault does not answer")
        return self.credential, ("this vault is a test",)

    def crls(self) -> CrlSet | None:
        return self.load()[0].crls

    def folders(self) -> Iterable[Path]:
        return ()

    def subscribe(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def load_stored_crls(self) -> CrlSet | None:
        return self.kept

    def store_crls(self, crls: CrlSet) -> None:
        self.kept = crls


def test_a_source_of_ones_own_is_followed_and_relaxes_nothing(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = issued(shop, "server"), issued(shop, "server")
    vault = Vault(first)
    with pki.Workload.from_source(vault, policy=shop.policy) as me:
        assert "this vault is a test" in caplog.text
        assert vault.kept == first.crls
        vault.down = True
        vault.changed()
        assert me.credential.leaf == first.leaf
        assert "the vault does not answer" in caplog.text
        vault.down, vault.credential = False, issued(shop, "other")
        vault.changed()
        assert me.credential.leaf == first.leaf
        assert "certificate is for spiffe://shop.internal/other" in caplog.text
        vault.credential = second
        vault.changed()
        assert me.credential.leaf == second.leaf
        # An older list is not gone back to, whoever brings it.
        assert second.crls is not None
        shop.ca.revoke(first.leaf.serial_number)
        newer = issued(shop, "server").crls
        vault.credential = replace(second, crls=newer)
        vault.changed()
        vault.credential = second
        vault.changed()
        held = me.credential.crls
        assert held is not None
        assert any(first.leaf.serial_number in item.revoked for item in held.crls.values())
        assert vault.kept == held


def test_a_source_that_pushes_nothing_is_looked_at_every_few_seconds(shop: Shop) -> None:
    first, second = issued(shop, "server"), issued(shop, "server")
    vault = Vault(first)
    with pki.Workload.from_source(vault) as me:
        vault.credential = second
        assert eventually(lambda: me.credential.leaf == second.leaf, 15)


class Hanging(Vault):
    """A source that takes its time, once it is told to."""

    def __init__(self, credential: Credential) -> None:
        super().__init__(credential)
        self.hangs = False
        self.asked, self.go_on = threading.Event(), threading.Event()

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        if self.hangs:
            self.asked.set()
            self.go_on.wait(SECONDS)
        return super().load()


def test_a_source_that_hangs_holds_up_no_end_of_a_certificate(shop: Shop) -> None:
    source = Hanging(issued(shop, "server", lifetime=timedelta(hours=20)))
    with (
        pki.Workload.from_source(source, policy=shop.policy, clock=shop.clock) as me,
        shop.aio_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream = watch(channel)
        source.hangs = True
        changing = threading.Thread(target=source.changed)
        changing.start()
        assert source.asked.wait(SECONDS)
        shop.clock.move(hours=2)
        assert ended(stream) == "CREDENTIAL_ENDED"
        assert not source.go_on.is_set()
        assert changing.is_alive(), "the source hangs still"
        source.go_on.set()
        changing.join()


class Lying(Vault):
    """A source that answers something else than it promised, or raises what ends programs."""

    is_local = True

    def __init__(self, credential: Credential) -> None:
        super().__init__(credential)
        self.answer: Callable[[], Any] | None = None

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        return super().load() if self.answer is None else self.answer()

    def crls(self) -> CrlSet | None:
        return super().crls() if self.answer is None else self.answer()


def raising(error: BaseException) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        raising(SystemExit(1)),
        raising(asyncio.CancelledError()),
        raising(GeneratorExit()),
        lambda: b"lists",
        lambda: (b"credential", ()),
    ],
    ids=["exits", "is cancelled", "ends a generator", "bytes", "bytes in a pair"],
)
def test_a_source_that_answers_nothing_of_use_is_a_problem_that_is_shown(
    shop: Shop, answer: Callable[[], Any]
) -> None:
    source = Lying(issued(shop, "server"))
    with pki.Workload.from_source(source, policy=shop.policy) as me:
        source.answer = answer
        source.changed()
        assert any(item.startswith("credential of the vault") for item in me.problems)
        assert any(item.startswith("revocation lists of the vault") for item in me.problems)
        assert me._provider.current.reloads.results()[ReloadResult.REFUSED] > 0
        source.answer = None
        source.changed()
        assert me.problems == ()


class Relaxing(Vault):
    """A source that takes its word on revocation back, or can't say it any more."""

    is_local = True
    word: RevocationMode | None = RevocationMode.REQUIRED

    @property
    def revocation(self) -> RevocationMode:  # type: ignore[override]
        if self.word is None:
            raise OSError("the vault does not answer")
        return self.word

    def crls(self) -> CrlSet | None:
        if self.word is None:
            raise OSError("the vault does not answer")
        return super().crls()


def test_a_source_that_does_not_say_its_word_again_keeps_no_list_from_being_withheld(
    shop: Shop,
) -> None:
    source = Relaxing(issued(shop, "server"))
    with (
        pki.Workload.from_source(source, policy=shop.policy, read_grace=timedelta(seconds=1)) as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        source.word, source.down = None, True
        assert eventually(lambda: any("nobody can tell" in item for item in me.problems))
        assert refused(lambda: get_stock(channel)) == "REVOCATION_STALE"
