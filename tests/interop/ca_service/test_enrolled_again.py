"""A directory whose identity was revoked is enrolled again, and no other one by mistake."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from pki._proto.handfast.ca.v1 import trust_pb2
from pki.authority import Authority
from pki.ca_client import CaIdentity, CaSource, calls
from pki.ca_client.connection import CaConnection
from pki.ca_client.enrollment import enroll_into, why_unusable
from pki.ca_client.storage.identity_store import (
    ENROLLING_KEY,
    SIGNED_BUNDLE,
    STATE,
    IdentityStore,
)
from pki.cli.app import run
from pki.clock import system_clock
from pki.errors import (
    CaRefusedError,
    CaUnreachableError,
    PkiError,
    StateError,
    UnreadableError,
)
from pki.proofs import EnrollmentToken
from tests.ca_service import Served, served_ca
from tests.interop.shop import eventually, reason


def token_of(ca: Served, name: str = "orders") -> EnrollmentToken:
    return EnrollmentToken.parse(ca.token(name))


def public_key(identity: CaIdentity) -> Any:
    return identity.credential.leaf.public_key()


def test_whoever_was_revoked_is_told_once_and_comes_back_with_a_token(
    ca: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place = tmp_path / "orders"
    with CaIdentity(place, token=token_of(ca)) as identity:
        source = CaSource(identity)
        before, key = identity.credential.leaf.serial_number, public_key(identity)
        with Authority.open(ca.authority.path) as other:
            other.revoke(before, reason="key-compromise")
        assert eventually(lambda: bool(identity.refused))
        assert "its certificate was revoked" in identity.problem
        assert eventually(lambda: identity.credential.crls is not None)
        with pytest.raises(CaRefusedError, match="its certificate was revoked"):
            source.crls()
    told = [item for item in caplog.messages if "can't come back by itself" in item]
    assert len(told) == 1
    assert "silent" not in caplog.text
    token = token_of(ca)
    with CaIdentity(place, token=token) as identity:
        assert identity.credential.leaf.serial_number != before
        assert public_key(identity) != key
        assert eventually(lambda: identity.credential.crls is not None)
        assert not identity.problem
        identity.renew_now()
        assert not identity.problem
        again = identity.credential.leaf.serial_number
    # The token is used, and harms nobody who is well.
    with CaIdentity(place, token=token) as identity:
        assert identity.credential.leaf.serial_number == again


def is_refused(connection: CaConnection) -> bool:
    """Return whether the CA gives an identity no stream, so none brings it a list either."""
    try:
        next(connection.trust.WatchTrust(trust_pb2.WatchTrustRequest(), timeout=10.0))
    except grpc.RpcError as error:
        return reason(error) == "CERTIFICATE_REVOKED"
    return False


def test_whoever_was_revoked_while_it_was_down_learns_it_and_uses_the_next_token(
    ca: Served, tmp_path: Path
) -> None:
    place = tmp_path / "orders"
    with CaIdentity(place, token=token_of(ca)) as identity:
        before = identity.credential.leaf.serial_number
    with Authority.open(ca.authority.path) as other:
        other.revoke(before, reason="key-compromise")
    stored = IdentityStore(place).load()
    with closing(
        CaConnection(stored.state.authority, stored.credential, stored.spiffe_id, system_clock)
    ) as connection:
        assert eventually(lambda: is_refused(connection), 15)
    assert not why_unusable(IdentityStore(place), system_clock())
    with CaIdentity(place) as identity:
        assert eventually(lambda: bool(why_unusable(IdentityStore(place), system_clock())), 20)
        assert eventually(lambda: bool(identity.refused))
    with CaIdentity(place, token=token_of(ca)) as identity:
        assert identity.credential.leaf.serial_number != before
        assert not identity.problem


def test_whose_issuing_ca_is_distrusted_comes_back_with_a_token(ca: Served, tmp_path: Path) -> None:
    place = tmp_path / "orders"
    with CaIdentity(place, token=token_of(ca)) as identity:
        before = identity.credential.chain[1]
        with Authority.open(ca.authority.path) as other:
            other.prepare_issuer()
            active = next(item for item in other.issuers() if item.certificate == before)
            other.distrust(active.key_id)
        assert eventually(lambda: bool(identity.refused))
    with CaIdentity(place, token=token_of(ca)) as identity:
        assert identity.credential.chain[1] != before
        assert not identity.problem


def test_an_identity_that_is_well_is_replaced_only_on_request(
    ca: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, file = tmp_path / "orders", tmp_path / "token"
    with CaIdentity(place, token=token_of(ca)) as identity:
        before = identity.credential.leaf.serial_number
        unused = token_of(ca)
        file.write_text(str(unused))
        enroll = ["enroll", "--token-file", str(file), "--out", str(place)]
        assert run([*enroll, "--replace"]) == 1
        assert "is kept fresh by another process" in capsys.readouterr().err
    assert run(enroll) == 1
    assert "enroll it anew with --replace" in capsys.readouterr().err
    with CaIdentity(place, token=unused) as identity:
        assert identity.credential.leaf.serial_number == before
    file.write_text(str(token_of(ca, "payments")))
    assert run([*enroll, "--replace"]) == 1
    assert "the proof was for spiffe://shop.internal/payments" in capsys.readouterr().err
    with CaIdentity(place) as identity:
        identity.renew_now()
        assert not identity.problem
        before = identity.credential.leaf.serial_number
    file.write_text(str(unused))
    assert run([*enroll, "--replace"]) == 0
    with CaIdentity(place) as identity:
        assert identity.credential.leaf.serial_number != before
        assert str(identity.spiffe_id) == "spiffe://shop.internal/orders"


@pytest.mark.parametrize("file", [STATE, SIGNED_BUNDLE])
def test_a_damaged_state_is_mended_by_enrolling(
    ca: Served, tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place, token = tmp_path / "orders", tmp_path / "token"
    CaIdentity(place, token=token_of(ca)).close()
    (place / file).write_bytes(b"{")
    with pytest.raises(PkiError, match="damaged"):
        CaIdentity(place)
    token.write_text(str(token_of(ca)))
    assert run(["enroll", "--token-file", str(token), "--out", str(place)]) == 0, (
        capsys.readouterr().err
    )
    CaIdentity(place).close()


def test_an_answer_that_was_lost_is_asked_for_again_with_the_same_keys(
    ca: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "orders"
    with CaIdentity(place, token=token_of(ca)) as identity:
        identity.revoke_own("key-compromise")
        assert eventually(lambda: bool(identity.refused))
    token = token_of(ca)
    with monkeypatch.context() as broken:

        def lose(*_: object, **__: object) -> None:
            raise OSError("killed")

        broken.setattr(IdentityStore, "replace", lose)
        with pytest.raises(OSError, match="killed"):
            CaIdentity(place, token=token)
    key = (place / ENROLLING_KEY).read_bytes()
    with CaIdentity(place, token=token):
        assert (place / "key.pem").read_bytes() == key


def files(place: Path) -> dict[str, bytes]:
    return {item.name: item.read_bytes() for item in place.iterdir() if item.stat().st_size}


def test_a_token_that_is_refused_leaves_a_line_as_it_was(
    ca: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service starts with its old token each time; a recovery in flight must not suffer by it."""
    ca.register("orders", lifetime=timedelta(seconds=5))
    place, used = tmp_path / "orders", token_of(ca)
    CaIdentity(place, token=used).close()
    time.sleep(6.5)
    with monkeypatch.context() as patch:

        def lose(*arguments: Any, **how: Any) -> Any:
            recover(*arguments, **how)
            raise CaUnreachableError("the answer was lost")

        recover = calls.recover
        patch.setattr(calls, "recover", lose)
        with pytest.raises(StateError, match="the answer was lost"):
            CaIdentity(place, token=used)
    with CaIdentity(place, token=used) as identity:
        assert not identity.problem
        identity.renew_now()
        assert not identity.problem
    assert "recovery-key-copied" not in {kind for _, kind, _ in ca.authority.events()}


def test_a_refused_replacement_changes_no_file_of_the_line(
    ca: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, file = tmp_path / "orders", tmp_path / "token"
    used = token_of(ca)
    with CaIdentity(place, token=used) as identity:
        assert eventually(lambda: identity.log_witness.size >= 0)
    store = IdentityStore(place)
    store.keys(with_recovery=True)
    before = files(place)
    file.write_text(str(used))
    enroll = ["enroll", "--token-file", str(file), "--out", str(place), "--replace"]
    assert run(enroll) == 1
    assert "handfast:" in capsys.readouterr().err
    after = files(place)
    assert {name: after[name] for name in before} == before


def test_a_token_leads_to_no_older_trust_than_the_directory_has(ca: Served, tmp_path: Path) -> None:
    """The token of long ago names a root; whoever has that root's key now is not the CA."""
    place, old = tmp_path / "orders", token_of(ca)
    with CaIdentity(place, token=token_of(ca)) as identity:
        identity.revoke_own("key-compromise")
        assert eventually(lambda: bool(identity.refused))
    (tmp_path / "other").mkdir()
    with served_ca(tmp_path / "other") as other:
        other.register("orders")
        theirs = token_of(other)
        with pytest.raises(PkiError):
            CaIdentity(place, token=theirs)
    with CaIdentity(place, token=old) as identity:
        assert not identity.problem


def test_a_directory_that_cant_be_read_now_is_not_taken_for_one_that_trusts_nobody(
    ca: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "orders"
    with CaIdentity(place, token=token_of(ca)) as identity:
        identity.revoke_own()
        assert eventually(lambda: bool(identity.refused))
    before = files(place)

    def fail(_: object) -> None:
        raise UnreadableError("no descriptor is left")

    monkeypatch.setattr(IdentityStore, "load", fail)
    with pytest.raises(UnreadableError):
        enroll_into(IdentityStore(place), b"x", lambda *_: 1 / 0, with_recovery=True)  # type: ignore[arg-type]
    assert {name: files(place)[name] for name in before} == before
