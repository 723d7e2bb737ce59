"""A CA whose clock jumps while it runs, as that of a machine that was suspended.

Handshakes go by the machine's own clock, so the CA's clock jumps to that.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.ca_client import CaIdentity
from pki.ca_client.contact import stranger_channel
from pki.clock import system_clock
from pki.identity import TrustDomain
from pki.proofs import EnrollmentToken
from pki.x509 import CrlSet
from tests.ca_service import Served, served_ca
from tests.interop.shop import ShiftedClock, eventually


def is_serving(ca: Served) -> bool:
    root = ca.authority.trust()[0].all_roots()[0]
    with stranger_channel(ca.enroll_address, ca.authority.trust_domain, root) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        answer = health.Check(request, timeout=2)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def reaches(ca: Served) -> bool:
    try:
        return is_serving(ca)
    except grpc.RpcError:
        return False


def have_ended(lists: CrlSet | None) -> bool:
    assert lists is not None
    assert lists.crls
    now = system_clock().replace(microsecond=0)
    return any(crl.next_update < now for crl in lists.crls.values())


def test_a_ca_that_slept_for_longer_than_its_lists_live_serves_at_once(tmp_path: Path) -> None:
    clock = ShiftedClock()
    clock.move(days=-8)
    with served_ca(tmp_path, clock=clock) as ca:
        assert have_ended(CrlSet.of(ca.service.parts.feed.state.crls.values()))
        clock.move(days=8)
        feed = ca.service.parts.feed
        # They were signed anew each ten minutes only.
        assert eventually(lambda: not have_ended(CrlSet.of(feed.state.crls.values())), 20)
        assert eventually(lambda: reaches(ca), 20)


@pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(days=100)])
def test_a_ca_that_started_with_a_clock_ahead_serves_once_the_clock_is_right(
    tmp_path: Path, ahead: timedelta
) -> None:
    clock = ShiftedClock()
    Authority.create(tmp_path / "ca", "shop.internal").close()
    clock.shift = ahead
    with served_ca(tmp_path, clock=clock) as ca:
        assert ca.service.parts.own_credential().leaf.not_valid_before_utc > system_clock()
        clock.shift = timedelta()
        own = ca.service.parts.own_credential
        assert eventually(lambda: own().leaf.not_valid_before_utc < system_clock(), 3)
        assert eventually(lambda: reaches(ca))
        token = EnrollmentToken.parse(ca.token("orders"))
        with CaIdentity(tmp_path / "orders", token=token) as identity:
            identity.renew_now()
            assert not identity.problem


def test_nobody_is_handed_lists_that_have_ended(tmp_path: Path) -> None:
    clock = ShiftedClock()
    clock.move(days=-8)
    with served_ca(tmp_path, clock=clock) as ca:
        # As it is in the moment between waking and signing.
        for task in ca.service._tasks:
            task.stop(5)
        clock.move(days=8)
        ca.service.workload.reload()
        token = EnrollmentToken.parse(ca.token("orders"))
        with CaIdentity(tmp_path / "orders", token=token) as identity:
            assert not have_ended(identity.credential.crls)


def test_who_holds_only_lists_that_have_ended_gets_new_ones_by_itself(tmp_path: Path) -> None:
    plan = AuthorityPlan(TrustDomain.parse("shop.internal"), crl_lifetime=timedelta(seconds=4))
    Authority.create(tmp_path / "ca", plan).close()
    folder = tmp_path / "orders"
    with served_ca(tmp_path) as ca:
        with CaIdentity(folder, token=EnrollmentToken.parse(ca.token("orders"))) as identity:
            leaf = identity.credential.leaf
        while not have_ended(identity.credential.crls):
            time.sleep(0.1)
        # It knows twenty times sooner that the CA is silent, because it accepts no certificate.
        with CaIdentity(folder, monotonic=lambda: 20 * time.monotonic()) as identity:
            assert have_ended(identity.credential.crls)
            assert eventually(lambda: not have_ended(identity.credential.crls), 20)
            assert eventually(lambda: identity.cut_off_since is None, 30)
            assert identity.credential.leaf == leaf, "only the lists had ended"
            identity.renew_now()
            assert identity.credential.leaf != leaf


def test_list_numbers_and_the_log_go_forward_though_the_clock_goes_back(tmp_path: Path) -> None:
    clock = ShiftedClock()
    clock.move(days=-2)
    Authority.create(tmp_path / "ca", "shop.internal", clock=clock).close()
    clock.move(days=2)
    folder = tmp_path / "orders"
    with served_ca(tmp_path, clock=clock) as ca:
        token = EnrollmentToken.parse(ca.token("orders"))
        # It knows twenty times sooner that the CA is silent: lists from the future cut it off.
        with CaIdentity(folder, token=token, monotonic=lambda: 20 * time.monotonic()) as identity:
            numbers, revoked = [highest_number(ca)], set()
            for minutes in (20, -60, 600, -1000, 440):
                clock.move(minutes=minutes)
                serial = ca.authority.issue("web").leaf.serial_number
                ca.authority.revoke(serial)
                revoked.add(serial)
                assert eventually(lambda: revoked <= listed(ca), 20)
                numbers.append(highest_number(ca))
            assert clock.shift == timedelta()
            assert numbers == sorted(set(numbers)), "a list went back"
            # Who followed all the time missed nothing, and is renewed when the clock is right.
            assert eventually(lambda: revoked <= known(identity), 20)
            assert eventually(lambda: renews(identity), 20)
        assert ca.authority.verify_audit_log().findings == ()
        records = ca.authority.certificates(with_ended=True)
        assert len({item.serial for item in records}) == len(records)


def highest_number(ca: Served) -> int:
    return max(crl.number for crl in ca.authority.trust()[1].crls.values())


def listed(ca: Served) -> set[int]:
    lists = ca.service.parts.feed.state.crls.values()
    return {serial for crl in lists for serial in crl.revoked}


def known(identity: CaIdentity) -> set[int]:
    lists = identity.credential.crls
    assert lists is not None
    on_lists = {serial for crl in lists.crls.values() for serial in crl.revoked}
    return on_lists | {serial for _, serial in lists.announced}


def renews(identity: CaIdentity) -> bool:
    identity.renew_now()
    return not identity.problem
