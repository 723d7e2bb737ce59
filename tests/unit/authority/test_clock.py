"""A clock that jumps: what it dated in the future is issued again, and no CRL loses an entry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.lifetimes import is_renewal_due
from pki.errors import PkiError, StateError, VerificationError
from pki.x509 import WORKLOAD, ChainVerifier, Credential, CrlSet, Purpose
from tests.support import NOW, Clock, make_authority


@pytest.fixture
def clock() -> Clock:
    return Clock()


def accepted(ca: Authority, credential: Credential) -> bool:
    bundle, crls = ca.trust()
    try:
        ChainVerifier(bundle, crls).verify(
            credential.chain, profile=WORKLOAD, purpose=Purpose.SERVER, at=ca.now()
        )
    except VerificationError:
        return False
    return True


def test_lists_of_a_clock_that_was_ahead_are_due_when_it_is_back(
    tmp_path: Path, clock: Clock
) -> None:
    with make_authority(tmp_path, clock) as ca:
        orders = ca.issue("orders").credential
        clock.move(hours=1)
        ca.revoke(ca.issue("payments").leaf.serial_number)
        seen = ca.trust()[1]
        clock.move(hours=-1)
        assert not accepted(ca, orders)
        assert ca.refresh_crls() == 1
        assert accepted(ca, orders)
        assert seen.merge_newer(ca.trust()[1])[1] == ()
        assert ca.refresh_crls() == 0


def test_a_list_that_was_signed_by_less_than_its_backdate_ahead_is_due_too(
    tmp_path: Path, clock: Clock
) -> None:
    with make_authority(tmp_path, clock) as ca:
        clock.move(seconds=30)
        ca.refresh_crls(force=True)
        clock.move(seconds=-30)
        assert ca.refresh_crls() == 1


def test_the_roots_list_of_a_clock_that_was_ahead_is_signed_anew_with_its_key(
    tmp_path: Path, clock: Clock
) -> None:
    with make_authority(tmp_path, clock) as ca:
        orders = ca.issue("orders").credential
        clock.move(hours=1)
        ca.rotate()
        clock.move(hours=-1)
        key = tmp_path / "ca" / "root.key.pem"
        away = key.rename(tmp_path / "away.pem")
        ca.refresh_crls()
        assert not accepted(ca, orders)
        away.rename(key)
        ca.refresh_crls()
        assert accepted(ca, orders)


def test_a_certificate_that_was_issued_in_the_future_is_due(tmp_path: Path, clock: Clock) -> None:
    with make_authority(tmp_path, clock) as ca:
        clock.move(hours=1)
        ahead = ca.issue("orders")
        (record,) = ca.certificates()
        clock.move(hours=-1)
        serial = ahead.leaf.serial_number
        assert is_renewal_due(record.issued_at, record.not_after, serial, now=ca.now())
        assert accepted(ca, ca.renew(ahead.leaf).credential)


@pytest.mark.parametrize(
    ("at", "due"),
    [
        (timedelta(seconds=-1), True),
        (timedelta(0), False),
        (timedelta(minutes=29), False),
        (timedelta(minutes=37), True),
        (timedelta(hours=100), True),
    ],
)
def test_due_looks_at_both_ends(at: timedelta, due: bool) -> None:
    assert is_renewal_due(NOW, NOW + timedelta(hours=1), 7, now=NOW + at) is due


def test_past_the_roots_end_nothing_is_emptied_and_every_refusal_is_a_sentence(
    tmp_path: Path, clock: Clock
) -> None:
    with make_authority(tmp_path, clock) as ca:
        orders = ca.issue("orders")
    before = (tmp_path / "ca" / "crl.pem").read_bytes()
    clock.move(days=3651)
    with Authority.open(tmp_path / "ca", clock=clock) as ca:
        assert ca.refresh_crls() == 0
        assert ca.refresh_crls(force=True) == 0
        ways: list[Callable[[], object]] = [
            lambda: ca.issue("orders"),
            lambda: ca.renew(orders.leaf),
            ca.rotate,
            lambda: ca.distrust(ca.issuers()[1].key_id),
        ]
        for way in ways:
            with pytest.raises(PkiError):
                way()
        assert len(ca.trust()[1].crls) == 2
    assert (tmp_path / "ca" / "crl.pem").read_bytes() == before
    # With the clock set right, everything is as before.
    clock.move(days=-3651)
    with Authority.open(tmp_path / "ca", clock=clock) as ca:
        assert accepted(ca, orders.credential)


@pytest.mark.parametrize("years", [-40, -1, 1, 2, 5, 9, 11, 60, 1000, 7000])
def test_a_clock_of_any_year_costs_no_list_and_raises_no_other_error(
    tmp_path: Path, clock: Clock, years: int
) -> None:
    with make_authority(tmp_path, clock) as ca:
        orders = ca.issue("orders")
        ca.rotate()
        clock.move(days=365 * years)
        ways: list[Callable[[], object]] = [
            ca.refresh_crls,
            lambda: ca.refresh_crls(force=True),
            lambda: ca.issue("orders"),
            lambda: ca.renew(orders.leaf),
            lambda: ca.revoke(orders.leaf.serial_number),
            ca.rotate,
            lambda: ca.distrust(ca.issuers()[1].key_id),
        ]
        for way in ways:
            try:
                way()
            except PkiError:
                continue
        kept = ca.trust()[1].crls
    clock.at = NOW
    with Authority.open(tmp_path / "ca", clock=clock) as ca:
        ca.refresh_crls()
        assert len(kept) >= 2
        assert len(ca.trust()[1].crls) == len(ca.issuers())


def test_an_active_issuing_cas_list_stays_while_the_clock_is_ahead_of_its_end(
    tmp_path: Path, clock: Clock
) -> None:
    with make_authority(tmp_path, clock):
        pass
    before = CrlSet.read((tmp_path / "ca" / "crl.pem").read_bytes())
    clock.move(days=400)
    with Authority.open(tmp_path / "ca", clock=clock) as ca:
        with pytest.raises(StateError, match="the clock says"):
            ca.issue("orders")
    after = CrlSet.read((tmp_path / "ca" / "crl.pem").read_bytes())
    assert after.crls.keys() == before.crls.keys()


def test_whoever_only_looks_publishes_nothing(tmp_path: Path, clock: Clock) -> None:
    with make_authority(tmp_path, clock):
        pass
    published = tmp_path / "ca" / "crl.pem"
    published.write_bytes(b"")
    with Authority.open(tmp_path / "ca", clock=clock, read_only=True) as ca:
        ca.certificates()
        ca.trust()
    assert published.read_bytes() == b""
