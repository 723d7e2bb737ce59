"""A workload's identity on disk: keys before requests, damage told, nothing half-written."""

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.ca_client.bundles import Anchor
from pki.ca_client.received import Received
from pki.ca_client.storage.identity_store import (
    NEXT_RECOVERY_KEY,
    RECOVERY_KEY,
    STATE,
    IdentityStore,
)
from pki.errors import InputError, PkiError, StateError
from pki.keys import public_key_fingerprint
from pki.x509 import Credential
from tests.enrolling import request_of
from tests.support import NOW, Clock, make_authority


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Authority]:
    with make_authority(tmp_path, Clock()) as authority:
        yield authority


def received(ca: Authority, store: IdentityStore) -> Received:
    keys = store.keys(with_recovery=True)
    issued = ca.issue_request("orders", request_of(keys.leaf))
    credential = Credential(keys.leaf, issued.chain, issued.bundle, issued.crls)
    return Received(
        credential,
        issued.spiffe_id,
        NOW + timedelta(minutes=24),
        NOW + timedelta(minutes=36),
        "hfr1_x",
        3,
        "ca.shop.internal:8443",
        "ca.shop.internal:8444",
        (),
        Anchor(ca.trust_domain, roots=issued.bundle.all_roots()),
    )


def test_keys_are_on_disk_before_a_request_and_the_same_again(
    tmp_path: Path, ca: Authority
) -> None:
    store = IdentityStore(tmp_path / "orders")
    first, again = store.keys(with_recovery=True), store.keys(with_recovery=True)
    assert first.recovery is not None
    assert again.recovery is not None
    for one, two in ((first.leaf, again.leaf), (first.recovery, again.recovery)):
        assert public_key_fingerprint(one.public_key()) == public_key_fingerprint(two.public_key())
    assert stat.S_IMODE((tmp_path / "orders" / NEXT_RECOVERY_KEY).stat().st_mode) == 0o600
    assert not store.is_enrolled


def test_what_was_saved_is_read_again(tmp_path: Path, ca: Authority) -> None:
    store = IdentityStore(tmp_path / "orders")
    got = received(ca, store)
    store.save(got, new_recovery_key=True)
    stored = IdentityStore(tmp_path / "orders").load()
    assert stored.credential.leaf == got.credential.leaf
    assert stored.state.window() == (got.renew_begin, got.renew_end)
    assert store.is_enrolled
    assert not (tmp_path / "orders" / NEXT_RECOVERY_KEY).exists()
    for name in (STATE, RECOVERY_KEY, "key.pem"):
        assert stat.S_IMODE((tmp_path / "orders" / name).stat().st_mode) == 0o600


def test_the_next_recovery_key_takes_its_place_only_with_the_certificate(
    tmp_path: Path, ca: Authority
) -> None:
    store = IdentityStore(tmp_path / "orders")
    store.save(received(ca, store), new_recovery_key=True)
    present = store.recovery_key()
    assert present is not None
    store.keys(with_recovery=True)
    still = IdentityStore(tmp_path / "orders").recovery_key()
    assert still is not None
    assert public_key_fingerprint(still.public_key()) == public_key_fingerprint(
        present.public_key()
    )
    store.promote_recovery_key()
    new = store.recovery_key()
    assert new is not None
    assert public_key_fingerprint(new.public_key()) != public_key_fingerprint(present.public_key())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "\0",
        json.dumps({"version": 2}),
        json.dumps({"version": 1, "authority": "a"}),
        json.dumps(
            {
                "version": 1,
                "authority": 1,
                "enrollment": "b",
                "recovery_id": "",
                "renew_begin": 1,
                "renew_end": 2,
            }
        ),
        json.dumps(
            {
                "version": 1,
                "authority": "a",
                "enrollment": "b",
                "recovery_id": "",
                "renew_begin": 10**30,
                "renew_end": 2,
            }
        ),
        "[" * 60_000,
    ],
)
def test_a_damaged_state_is_told(tmp_path: Path, ca: Authority, text: str) -> None:
    store = IdentityStore(tmp_path / "orders")
    store.save(received(ca, store), new_recovery_key=True)
    (tmp_path / "orders" / STATE).write_text(text)
    with pytest.raises(InputError, match="damaged"):
        store.load()


def test_a_directory_that_was_not_enrolled_says_so(tmp_path: Path, ca: Authority) -> None:
    ca.issue("orders").save(tmp_path / "orders")
    with pytest.raises(StateError, match="not enrolled"):
        IdentityStore(tmp_path / "orders").load()


def test_a_directory_of_another_workload_is_not_overwritten(tmp_path: Path, ca: Authority) -> None:
    store = IdentityStore(tmp_path / "orders")
    got = received(ca, store)
    ca.issue("payments").save(tmp_path / "payments")
    before = (tmp_path / "payments" / "key.pem").read_bytes()
    other = IdentityStore(tmp_path / "payments")
    with pytest.raises(PkiError):
        other.save(replace(got), new_recovery_key=False)
    assert (tmp_path / "payments" / "key.pem").read_bytes() == before


def test_a_directory_that_cant_be_looked_at_is_an_error_of_ours(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path / ("x" * 300))
    with pytest.raises(StateError, match="too long"):
        store.hold()
