"""A fleet that lives from the CA's service: enrolled, renewed, recovered, revoked at once."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import pki
from pki._proto.handfast.ca.v1 import authority_pb2, authority_pb2_grpc
from pki.authority import Authority
from pki.ca_client import CaIdentity, calls
from pki.clock import system_clock
from pki.errors import CaRefusedError, CaUnreachableError, InputError, PkiError
from pki.identity import SpiffeId
from pki.proofs import EnrollmentToken
from tests.ca_service import Served, served_ca
from tests.interop.fleet import fleet, serving
from tests.interop.shop import (
    POLICY,
    SECONDS,
    ended,
    eventually,
    free_port,
    get_stock,
    watch,
)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    return file


def test_two_workloads_enroll_and_call_each_other(ca: Served, tmp_path: Path, policy: Path) -> None:
    with fleet(ca, tmp_path, policy) as (server, caller, channel):
        assert get_stock(channel) > 0
        assert eventually(lambda: not server.problems and not caller.problems)
    # The next start needs no token.
    with pki.Workload.from_ca(tmp_path / "caller", policy=policy) as again:
        assert str(again.spiffe_id) == "spiffe://shop.internal/caller"


@pytest.mark.parametrize("way", ["service", "folder"])
def test_a_revocation_ends_running_streams_within_a_second(
    ca: Served, tmp_path: Path, policy: Path, way: str
) -> None:
    with fleet(ca, tmp_path, policy) as (server, caller, channel):
        stream = watch(channel)
        serial = caller.credential.leaf.serial_number
        begun = time.monotonic()
        if way == "service":
            ca_name = SpiffeId.of_ca(caller.spiffe_id.trust_domain)
            with (
                pki.Workload.from_directory(tmp_path / "caller") as me,
                me.sync_channel(ca.address, peer=ca_name) as to_ca,
            ):
                request = authority_pb2.RevokeRequest(own=True, reason="key-compromise")
                authority_pb2_grpc.AuthorityStub(to_ca).Revoke(request, timeout=SECONDS)
        else:
            # As a command on the CA's folder beside the running service does.
            with Authority.open(ca.authority.path) as other:
                other.revoke(serial, reason="key-compromise")
        assert ended(stream) == "CANCELLED"
        print(f"{way}: {time.monotonic() - begun:.2f} s")
        # The signed list follows.
        assert eventually(
            lambda: any(serial in crl.revoked for crl in server.credential.crls.crls.values()),
            SECONDS,
        )
        assert eventually(lambda: not server.credential.crls.announced)


def test_certificates_of_seconds_are_renewed_and_no_call_fails(
    ca: Served, tmp_path: Path, policy: Path
) -> None:
    for name in ("server", "caller"):
        ca.register(name, lifetime=timedelta(seconds=6))
    with fleet(ca, tmp_path, policy) as (server, caller, channel):
        first = {me.credential.leaf.serial_number for me in (server, caller)}
        calls = 0

        def calls_go_on() -> bool:
            nonlocal calls
            assert get_stock(channel) > 0
            calls += 1
            now = {me.credential.leaf.serial_number for me in (server, caller)}
            return not now & first and calls > 20

        assert eventually(calls_go_on, 30)
        assert not server.problems
        assert not caller.problems


def test_ten_workloads_that_slept_past_their_certificates_come_back_by_themselves(
    ca: Served, tmp_path: Path
) -> None:
    names = [f"worker-{number}" for number in range(10)]
    for name in names:
        ca.register(name, lifetime=timedelta(seconds=5))
    serials = {}
    for name in names:
        # As if the machine were suspended: nobody renews.
        with CaIdentity(tmp_path / name, token=EnrollmentToken.parse(ca.token(name))) as identity:
            serials[name] = identity.credential.leaf.serial_number
            end = identity.credential.leaf.not_valid_after_utc
    assert eventually(lambda: system_clock() > end + timedelta(seconds=1), 20)
    with ExitStack() as stack:
        for name in names:
            identity = stack.enter_context(CaIdentity(tmp_path / name))
            assert identity.credential.leaf.serial_number != serials[name]
            assert identity.problem == ""
            # And it goes on as before.
            first = identity.credential.leaf.serial_number
            assert eventually(
                lambda i=identity, f=first: i.credential.leaf.serial_number != f,  # type: ignore[misc]
                20,
            )


def test_a_ca_that_is_gone_is_noticed_and_one_that_comes_back_too(
    tmp_path: Path, policy: Path
) -> None:
    ports = free_port(), free_port()
    with ExitStack() as stack:
        with served_ca(tmp_path, ports=ports) as ca:
            server = stack.enter_context(
                pki.Workload.from_ca(tmp_path / "server", token=ca.token("server"), policy=policy)
            )
            caller = stack.enter_context(
                pki.Workload.from_ca(tmp_path / "caller", token=ca.token("caller"), policy=policy)
            )
            address = stack.enter_context(serving(server))
            channel = stack.enter_context(caller.sync_channel(address, peer="server"))
            assert get_stock(channel) > 0
            assert eventually(lambda: not server.problems)
        assert eventually(lambda: "silent" in " ".join(server.problems), 20)
        assert get_stock(channel) > 0, "the lists are in force to their end"
        serial = caller.credential.leaf.serial_number
        with Authority.open(tmp_path / "ca") as authority:
            authority.revoke(serial, reason="key-compromise")
        stream = watch(channel)
        with served_ca(tmp_path, ports=ports):
            # What was revoked while the CA was away is learned when it is back.
            assert ended(stream) == "CANCELLED"
            assert eventually(lambda: not server.problems, 20)


# The first contact


def test_a_leaf_of_the_same_root_that_poses_as_the_ca_gets_no_secret(
    ca: Served, tmp_path: Path, policy: Path
) -> None:
    ca.authority.issue("mallory").save(tmp_path / "mallory")
    token = EnrollmentToken.parse(ca.token("orders"))
    with (
        pki.Workload.from_directory(tmp_path / "mallory", policy=policy) as mallory,
        serving(mallory) as address,
    ):
        lured = EnrollmentToken(address, token.trust_domain, token.root, token.credential)
        with pytest.raises((CaRefusedError, CaUnreachableError)):
            CaIdentity(tmp_path / "orders", token=lured)
    with CaIdentity(tmp_path / "orders", token=token):
        pass


def test_a_ca_with_another_root_is_refused(ca: Served, tmp_path: Path) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    (tmp_path / "other").mkdir()
    with served_ca(tmp_path / "other") as other:
        lured = EnrollmentToken(
            other.enroll_address, token.trust_domain, token.root, token.credential
        )
        with pytest.raises(CaRefusedError, match="root that the token names"):
            CaIdentity(tmp_path / "orders", token=lured)
    assert not list((tmp_path / "orders").glob("chain.pem"))


def test_nobody_there_is_an_error_that_says_so(ca: Served, tmp_path: Path) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    gone = EnrollmentToken(
        f"127.0.0.1:{free_port()}", token.trust_domain, token.root, token.credential
    )
    with pytest.raises(CaUnreachableError, match="can't be reached"):
        CaIdentity(tmp_path / "orders", token=gone)


def test_a_lost_answer_is_asked_for_again_with_the_same_keys(
    ca: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    with monkeypatch.context() as patch:

        def lose(*arguments: Any, **how: Any) -> Any:
            enroll(*arguments, **how)
            raise CaUnreachableError("the answer was lost")

        enroll = calls.enroll
        patch.setattr(calls, "enroll", lose)
        with pytest.raises(CaUnreachableError):
            CaIdentity(tmp_path / "orders", token=token)
    with CaIdentity(tmp_path / "orders", token=token) as identity:
        serial = identity.credential.leaf.serial_number
    (record,) = ca.authority.certificates_of(identity.spiffe_id)
    assert record.serial == f"{serial:x}", "one certificate, not two"


def test_a_used_token_is_refused_with_one_answer(ca: Served, tmp_path: Path) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    with CaIdentity(tmp_path / "orders", token=token):
        pass
    with pytest.raises(CaRefusedError) as caught:
        CaIdentity(tmp_path / "thief", token=token)
    assert caught.value.reason == "PROOF_REFUSED"


def test_an_identity_without_anything_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="not there"):
        CaIdentity(tmp_path / "orders")
    with pytest.raises(InputError):
        pki.Workload.from_ca(tmp_path / "orders", token="no token")


def test_the_thief_of_a_directory_blocks_the_line_and_is_told(ca: Served, tmp_path: Path) -> None:
    with CaIdentity(tmp_path / "orders", token=EnrollmentToken.parse(ca.token("orders"))) as owner:
        shutil.copytree(tmp_path / "orders", tmp_path / "stolen")
        with CaIdentity(tmp_path / "stolen") as thief:
            thief.renew_now()
            assert thief.problem == ""
            owner.renew_now()
            assert "blocked" in owner.problem
            thief.renew_now()
            assert "blocked" in thief.problem
    assert [kind for _, kind, _ in ca.authority.events()] == ["second-renewal"]
