"""Workloads that follow the CA's signed bundles through the replacement of its root."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

import pki
from pki.authority import Authority
from pki.background import flush
from pki.ca_client import CaIdentity
from pki.ca_client.storage.identity_store import SIGNED_BUNDLE
from pki.clock import system_clock
from pki.errors import CaRefusedError, InputError, StateError
from pki.proofs import EnrollmentToken
from pki.x509 import Credential, CrlSet, TrustBundle
from pki.x509.bundle_chain import SignedBundle
from tests.ca_service import Served, served_ca
from tests.interop.fleet import fleet
from tests.interop.shop import POLICY, SECONDS, eventually, free_port, get_stock


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    return file


def enrolled(ca: Served, folder: Path) -> CaIdentity:
    return CaIdentity(folder, token=EnrollmentToken.parse(ca.token(folder.name)))


def roots_of(credential: Credential) -> set[x509.Certificate]:
    return set(credential.bundle.all_roots())


def newest_roots(ca: Served) -> set[x509.Certificate]:
    return set(ca.authority.bundles()[-1].content.roots)


def shown_root(ca: Served) -> x509.Certificate:
    """Return the root of the certificate that the CA shows."""
    own = ca.service.parts.own_credential()
    return next(
        item.certificate
        for item in ca.authority.issuers()
        if item.certificate.subject == own.chain[1].issuer
    )


def soon_free(step: Any) -> bool:
    """Take a step of the rotation as soon as it strands nobody."""

    def is_done() -> bool:
        try:
            step()
        except StateError as error:
            return "would strand" not in str(error)
        return True

    return eventually(is_done, 40)


def replace_root(ca: Served) -> None:
    """Replace the root while nobody holds a certificate."""
    ca.authority.prepare_root()
    ca.authority.activate_root()
    ca.authority.withdraw_root()


def test_a_root_is_replaced_under_load_and_no_call_fails(
    ca: Served, tmp_path: Path, policy: Path
) -> None:
    for name in ("server", "caller"):
        ca.register(name, lifetime=timedelta(seconds=8))
    failures: list[Exception] = []
    ending = threading.Event()
    with fleet(ca, tmp_path, policy) as (server, caller, channel):

        def calls() -> None:
            while not ending.wait(0.005):
                try:
                    get_stock(channel)
                except Exception as error:
                    failures.append(error)

        load = threading.Thread(target=calls)
        load.start()
        try:
            (old,) = newest_roots(ca)
            ca.authority.prepare_root()
            both = newest_roots(ca)
            assert len(both) == 2
            for one in (server, caller):
                assert eventually(lambda one=one: roots_of(one.credential) == both)  # type: ignore[misc]
            # They report it by themselves.
            assert soon_free(ca.authority.activate_root)
            # The old leaves hang on the old root until they end.
            assert soon_free(ca.authority.withdraw_root)
            for one in (server, caller):
                assert eventually(lambda one=one: roots_of(one.credential) == both - {old})  # type: ignore[misc]
            assert eventually(lambda: not server.problems and not caller.problems)
            assert get_stock(channel) > 0
        finally:
            ending.set()
            load.join()
    assert failures == []


def test_who_slept_through_two_whole_rotations_comes_back_by_itself(
    ca: Served, tmp_path: Path
) -> None:
    ca.register("orders", lifetime=timedelta(seconds=4))
    with enrolled(ca, tmp_path / "orders") as identity:
        before = roots_of(identity.credential)
        end = identity.credential.leaf.not_valid_after_utc
    assert eventually(lambda: system_clock() > end + timedelta(seconds=1), 20)
    for _ in range(2):
        replace_root(ca)
    assert not newest_roots(ca) & before
    assert eventually(lambda: shown_root(ca) in newest_roots(ca))
    with CaIdentity(tmp_path / "orders") as identity:
        assert roots_of(identity.credential) == newest_roots(ca)
        assert identity.problem == ""


def test_who_is_connected_while_the_ca_comes_back_with_another_root_follows_it(
    tmp_path: Path,
) -> None:
    ports = free_port(), free_port()
    with ExitStack() as stack:
        with served_ca(tmp_path, ports=ports) as ca:
            identity = stack.enter_context(enrolled(ca, tmp_path / "orders"))
            enrolled_at = system_clock()
            assert eventually(lambda: identity.last_heard > enrolled_at)
        with Authority.open(tmp_path / "ca") as authority:
            authority.prepare_root()
            # The CA can't know that the workload will follow.
            _, stranded = authority.activate_root(force=True)
            assert len(stranded) == 1
        with served_ca(tmp_path, ports=ports) as ca:
            assert eventually(lambda: roots_of(identity.credential) == newest_roots(ca), 40)
            assert eventually(lambda: identity.cut_off_since is None, 20)
            first = identity.credential.leaf
            identity.renew_now()
            assert identity.problem == ""
            assert identity.credential.leaf != first


def test_a_token_from_before_the_activation_enrolls_after_it(ca: Served, tmp_path: Path) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    replace_root(ca)
    assert eventually(lambda: shown_root(ca) in newest_roots(ca))
    with CaIdentity(tmp_path / "orders", token=token) as identity:
        assert roots_of(identity.credential) == newest_roots(ca)


def test_a_directory_from_before_signed_bundles_begins_with_its_roots(
    ca: Served, tmp_path: Path
) -> None:
    with enrolled(ca, tmp_path / "orders"):
        pass
    file = tmp_path / "orders" / SIGNED_BUNDLE
    assert SignedBundle.read(file.read_bytes()).number == 1
    file.unlink()
    with CaIdentity(tmp_path / "orders") as identity:
        assert eventually(file.exists)
        ca.authority.prepare_root()
        assert eventually(lambda: roots_of(identity.credential) == newest_roots(ca))
        assert eventually(lambda: SignedBundle.read(file.read_bytes()).number == 2)
    # A process that ended between the two files left the roots of before.
    (tmp_path / "orders" / "bundle.pem").write_bytes(
        TrustBundle.of_roots([next(iter(newest_roots(ca)))]).to_pem()
    )
    with CaIdentity(tmp_path / "orders") as identity:
        assert roots_of(identity.credential) == newest_roots(ca)


def test_a_ca_whose_ledger_went_back_is_told_and_changes_nothing(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    with served_ca(tmp_path, ports=ports) as ca:
        token = ca.token("orders")
    shutil.copytree(tmp_path / "ca", tmp_path / "copy")
    with served_ca(tmp_path, ports=ports) as ca:
        ca.authority.prepare_root()
        both = newest_roots(ca)
        with CaIdentity(tmp_path / "orders", token=EnrollmentToken.parse(token)) as identity:
            assert roots_of(identity.credential) == both
    shutil.rmtree(tmp_path / "ca")
    shutil.move(tmp_path / "copy", tmp_path / "ca")
    with served_ca(tmp_path, ports=ports) as ca:
        with CaIdentity(tmp_path / "orders") as identity:
            assert eventually(lambda: "older than bundle 2" in identity.bundle_refused)
            assert roots_of(identity.credential) == both
        # Another second bundle: a fork.
        ca.authority.prepare_root()
        with CaIdentity(tmp_path / "orders") as identity:
            assert eventually(lambda: "another trust bundle" in identity.bundle_refused)
            assert roots_of(identity.credential) == both


def test_a_damaged_signed_bundle_is_an_error_that_says_so(ca: Served, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path / "orders"):
        pass
    file = tmp_path / "orders" / SIGNED_BUNDLE
    for data in (b"", b"{}", json.dumps(json.loads(file.read_bytes()), indent=1).encode()):
        file.write_bytes(data)
        with pytest.raises(InputError, match="is damaged"):
            CaIdentity(tmp_path / "orders")


def test_one_process_keeps_a_directory_fresh(ca: Served, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path / "orders") as identity:
        with pytest.raises(StateError, match="kept fresh by another process"):
            CaIdentity(tmp_path / "orders")
        with pki.Workload.from_directory(tmp_path / "orders") as reader:
            assert reader.credential.leaf == identity.credential.leaf
    with CaIdentity(tmp_path / "orders") as identity:
        identity.close()
        # It closes nothing twice: a descriptor's number may be another file's by then.
        with CaIdentity(tmp_path / "orders"):
            identity.close()
            with pytest.raises(StateError, match="kept fresh by another process"):
                CaIdentity(tmp_path / "orders")


def test_bundles_of_another_ca_lead_nowhere(ca: Served, tmp_path: Path) -> None:
    ca.register("orders", lifetime=timedelta(seconds=3))
    with enrolled(ca, tmp_path / "orders") as identity:
        end = identity.credential.leaf.not_valid_after_utc
    (tmp_path / "other").mkdir()
    with served_ca(tmp_path / "other") as other:
        state = tmp_path / "orders" / ".handfast-ca.json"
        values = json.loads(state.read_bytes())
        state.write_text(json.dumps({**values, "enrollment": other.enroll_address}))
        assert eventually(lambda: system_clock() > end + timedelta(seconds=1), 20)
        with pytest.raises((CaRefusedError, StateError), match="do not lead there"):
            CaIdentity(tmp_path / "orders")


def test_a_renewal_keeps_the_lists_of_other_trust_domains(ca: Served, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path / "orders"):
        pass
    files = [tmp_path / "orders" / name for name in ("bundle.pem", "crl.pem")]
    with Authority.ephemeral("other.internal") as other:
        other.issue("payments").save(tmp_path / "foreign")
        for file in files:
            foreign = (tmp_path / "foreign" / file.name).read_bytes()
            file.write_bytes(file.read_bytes() + foreign)
    before = CrlSet.read(files[1].read_bytes()).crls.keys()
    with CaIdentity(tmp_path / "orders") as identity:
        identity.renew_now()
        assert identity.problem == ""
        assert CrlSet.read(files[1].read_bytes()).crls.keys() == before


def test_a_ledger_that_can_t_be_read_is_told_once_and_that_it_can_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="handfast.ca")
    tries = 0

    def away() -> bool:
        nonlocal tries
        tries += 1
        raise StateError("the database is away")

    def told(text: str) -> int:
        flush()
        return sum(text in item for item in caplog.messages)

    with served_ca(tmp_path) as ca:
        monkeypatch.setattr(ca.service._feed, "refresh", away)
        assert eventually(lambda: tries > 3, SECONDS)
        assert told("the ledger could not be read: the database is away") == 1
        monkeypatch.undo()
        assert eventually(lambda: told("the ledger can be read again") == 1, SECONDS)
