"""The provider and its subscribers: who is told what, in which order, and until when."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pki.authority import Authority
from pki.background import defer, flush
from pki.credentials.provider import CredentialProvider
from pki.credentials.snapshot import Snapshot
from pki.credentials.source import DirectorySource, PemSource
from pki.credentials.subscriber import Subscriber
from pki.errors import StateError
from pki.files import load_credential, save_trust
from pki.keys import private_key_to_pem
from pki.x509 import WORKLOAD, ChainVerifier, Credential, Purpose
from pki.x509.readers import to_pem
from tests.interop.shop import eventually
from tests.support import Clock, make_authority


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path, clock) as authority:
        yield authority


@pytest.fixture
def provider(tmp_path: Path, ca: Authority, clock: Clock) -> Iterator[CredentialProvider]:
    ca.issue("orders").save(tmp_path / "orders")
    made = CredentialProvider(DirectorySource(tmp_path / "orders"), clock)
    made.start()
    yield made
    made.close()


def rechecks_run(provider: CredentialProvider) -> bool:
    return provider._recheck_task._thread.is_alive()


class Recorder(Subscriber):
    """Records what it is told; ``during`` runs in each recheck."""

    def __init__(self, during: Callable[[Recorder], None] = lambda _: None) -> None:
        self.steps: list[str] = []
        self.snapshots: list[Snapshot] = []
        self.running = False
        self._during = during

    def on_change(self, snapshot: Snapshot) -> None:
        self.steps.append("change")
        self.snapshots.append(snapshot)

    def recheck(self) -> None:
        self.steps.append("recheck")
        self._during(self)

    @property
    def has_running(self) -> bool:
        return self.running

    def on_close(self) -> None:
        self.steps.append("close")

    def on_closed(self) -> None:
        self.steps.append("closed")


def test_a_new_certificate_has_a_new_version_and_new_lists_have_the_same(
    tmp_path: Path, ca: Authority, provider: CredentialProvider
) -> None:
    recorder = Recorder()
    provider.subscribe(recorder)
    first = provider.snapshot
    ca.issue("orders").save(tmp_path / "orders")
    assert provider.reload(10)
    second = provider.snapshot
    assert second.version == first.version + 1
    assert second.credential.leaf != first.credential.leaf
    assert recorder.snapshots[-1] is second
    assert recorder.steps[recorder.steps.index("change") + 1] == "recheck"
    ca.refresh_crls(force=True)
    shutil.copy(tmp_path / "ca" / "crl.pem", tmp_path / "orders" / "crl.pem")
    assert provider.reload(10)
    third = provider.snapshot
    assert third.credential.crls != second.credential.crls
    assert third.version == second.version
    assert recorder.snapshots[-1] is third


def test_one_subscriber_that_fails_keeps_no_other_from_being_told(
    provider: CredentialProvider,
) -> None:
    def fail(_: Recorder) -> None:
        raise ValueError("a recheck failed")

    failing, good = Recorder(fail), Recorder()
    provider.subscribe(failing)
    provider.subscribe(good)
    provider.reload(10)
    assert "recheck" in failing.steps
    assert "recheck" in good.steps


def test_what_begins_while_the_workload_is_closed_is_still_ended(
    provider: CredentialProvider,
) -> None:
    closing: list[threading.Thread] = []

    def begin_during_close(recorder: Recorder) -> None:
        if recorder.running:
            # The recheck after the policies were withdrawn ends what runs.
            recorder.running = False
        elif not closing:
            thread = threading.Thread(target=provider.close)
            thread.start()
            closing.append(thread)
            assert eventually(lambda: provider.is_closed)
            recorder.running = True

    recorder = Recorder(begin_during_close)
    provider.subscribe(recorder)
    provider._recheck_task.wake()
    assert eventually(lambda: bool(closing) and not recorder.running)
    closing[0].join(10)
    assert eventually(lambda: not rechecks_run(provider))


def test_a_recheck_that_fails_does_not_keep_a_closed_provider_running(
    provider: CredentialProvider,
) -> None:
    def fail(_: Recorder) -> None:
        raise ValueError("a recheck failed")

    failing = Recorder(fail)
    provider.subscribe(failing)
    provider.close()
    assert eventually(lambda: not rechecks_run(provider))


def test_rechecks_go_on_after_the_close_for_as_long_as_something_runs(
    provider: CredentialProvider,
) -> None:
    recorder = Recorder()
    recorder.running = True
    provider.subscribe(recorder)
    provider.close()
    before = len(recorder.steps)
    assert eventually(lambda: len(recorder.steps) > before + 2)
    assert rechecks_run(provider)
    recorder.running = False
    assert eventually(lambda: not rechecks_run(provider))


def test_a_closed_provider_tells_first_to_refuse_and_last_to_report(
    provider: CredentialProvider,
) -> None:
    recorder = Recorder()
    provider.subscribe(recorder)
    provider.close()
    steps = recorder.steps
    assert steps.index("close") < steps.index("closed")
    assert "recheck" in steps[steps.index("close") : steps.index("closed")]
    with pytest.raises(StateError):
        provider.subscribe(Recorder())


def test_a_released_subscriber_is_held_until_nothing_of_it_runs(
    provider: CredentialProvider,
) -> None:
    recorder = Recorder()
    recorder.running = True
    steps, held = recorder.steps, weakref.ref(recorder)
    provider.subscribe(recorder)
    provider.release(recorder)
    del recorder
    gc.collect()
    kept = held()
    assert kept is not None
    kept.running = False
    del kept
    assert eventually(lambda: "closed" in steps)

    def is_dropped() -> bool:
        gc.collect()
        return held() is None

    assert eventually(is_dropped)


def test_the_background_thread_keeps_nothing_of_its_last_step() -> None:
    class Step:
        def run(self) -> None:
            pass

    step = Step()
    held = weakref.ref(step)
    defer(step.run)
    flush()
    del step

    def is_dropped() -> bool:
        gc.collect()
        return held() is None

    assert eventually(is_dropped)


class UnexportableKey:
    """A key that signs and never leaves its place, as one in a key management service."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def private_bytes(self, *_: Any) -> bytes:
        raise ValueError("the key can't be exported")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


ec.EllipticCurvePrivateKey.register(UnexportableKey)


def pem_of(credential: Credential) -> dict[str, Any]:
    assert credential.crls is not None
    return {
        "key": private_key_to_pem(credential.key),
        "chain": to_pem(credential.chain),
        "bundle": credential.bundle.to_pem(),
        "crls": to_pem([item.crl for item in credential.crls.crls.values()]),
    }


def issued_credential(ca: Authority, folder: Path) -> Credential:
    ca.issue("orders").save(folder)
    return load_credential(folder).credential


def unexportable(credential: Credential) -> Credential:
    key: Any = UnexportableKey(credential.key)
    return Credential(key, credential.chain, credential.bundle, credential.crls)


def test_a_key_that_cannot_be_exported_does_not_start(
    tmp_path: Path, ca: Authority, clock: Clock
) -> None:
    credential = issued_credential(ca, tmp_path / "orders")
    source = PemSource(**pem_of(credential))
    source._credential = unexportable(credential)
    with pytest.raises(ValueError, match="can't be exported"):
        CredentialProvider(source, clock)


def test_a_new_key_that_cannot_be_exported_is_refused_and_the_last_one_kept(
    tmp_path: Path, ca: Authority, clock: Clock
) -> None:
    first = issued_credential(ca, tmp_path / "orders")
    source = PemSource(**pem_of(first))
    made = CredentialProvider(source, clock)
    made.start()
    try:
        source._credential = unexportable(issued_credential(ca, tmp_path / "orders"))
        made.reload(10)
        assert made.snapshot.credential.leaf == first.leaf
        assert any("can't be exported" in problem for problem in made.problems)
    finally:
        made.close()


def test_no_call_waits_until_openssl_has_read_a_new_list(
    tmp_path: Path,
    ca: Authority,
    clock: Clock,
    provider: CredentialProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A list of 100,000 entries takes a tenth of a second, once for each issuer."""
    peer = ca.issue("payments")
    before = provider.snapshot.verifier
    ca.revoke(ca.issue("billing").leaf.serial_number)
    save_trust(*ca.trust(), tmp_path / "orders")
    provider.reload(10)
    verifier = provider.snapshot.verifier
    assert verifier is not before
    asked: list[bool] = []
    make = ChainVerifier._builder

    def noting(self: ChainVerifier, roots: Any, *, with_crls: bool) -> Any:
        asked.append(with_crls)
        return make(self, roots, with_crls=with_crls)

    monkeypatch.setattr(ChainVerifier, "_builder", noting)
    verifier.verify(peer.chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=clock())
    assert asked == [False]
