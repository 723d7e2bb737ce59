"""Issuing CAs: distrusted with several roots, and lifetimes that fit each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.ledger import IssuerKind, IssuerStatus
from pki.errors import InputError, StateError, VerificationError
from pki.x509 import WORKLOAD, ChainVerifier, Fault, Purpose
from tests.rotating import accepts, serial, spiffe
from tests.support import NOW, Clock, make_authority

YEARS = timedelta(days=3650)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path, clock) as made:
        yield made


# Distrust with several roots


def issuing(ca: Authority, status: str) -> str:
    return next(
        item.key_id
        for item in ca.issuers()
        if item.kind is IssuerKind.ISSUING and item.status.value == status
    )


@pytest.mark.parametrize("steps", [1, 2])
def test_either_roots_issuing_ca_is_distrusted_without_a_roots_key(
    ca: Authority, tmp_path: Path, steps: int
) -> None:
    old = ca.issue("orders")
    ca.prepare_root()
    ca.report_trust([(spiffe("orders"), serial(old))], 2)
    if steps == 2:
        ca.activate_root()
    for path in (tmp_path / "ca").glob("root*.key.pem"):
        path.unlink()
    new = ca.issue("payments")
    active = issuing(ca, "active")
    other = issuing(ca, "prepared" if steps == 1 else "superseded")
    seen = ca.trust()[1]
    assert ca.distrust(active).status is IssuerStatus.DISTRUSTED
    assert not accepts(ca.trust(), new, ca)
    assert accepts(ca.trust(), old, ca) is (steps == 2)
    ca.distrust(other)
    assert not accepts(ca.trust(), old, ca)
    merged, refused = seen.merge_newer(ca.trust()[1])
    assert not refused
    with pytest.raises(VerificationError) as caught:
        ChainVerifier(ca.trust()[0], merged).verify(
            new.chain, profile=WORKLOAD, purpose=Purpose.SERVER, at=ca.now()
        )
    assert caught.value.fault is Fault.ISSUER_REVOKED


def test_a_distrusted_active_issuing_ca_makes_room_for_the_prepared_one_at_once(
    ca: Authority, tmp_path: Path
) -> None:
    prepared = ca.prepare_issuer()
    (tmp_path / "ca" / "root.key.pem").unlink()
    leaked = ca.issue("orders")
    ca.distrust(issuing(ca, "active"))
    assert issuing(ca, "active") == prepared.key_id
    issued = ca.issue("orders")
    assert accepts(ca.trust(), issued, ca)
    assert not accepts(ca.trust(), leaked, ca)


def test_an_issuing_ca_under_a_root_that_nobody_may_know_is_not_activated_by_a_distrust(
    ca: Authority,
) -> None:
    ca.issue("orders")
    ca.prepare_root()
    ca.distrust(issuing(ca, "active"))
    with pytest.raises(StateError, match="no issuing CA is active"):
        ca.issue("payments")
    ca.activate_root()
    ca.issue("payments")


# The arithmetic


@pytest.mark.parametrize(
    ("lifetime", "why"),
    [
        (timedelta(days=6) - timedelta(seconds=1), "too short: its last sixth"),
        (timedelta(0), "not a positive number"),
        (-timedelta(days=6), "not a positive number"),
        (timedelta(days=6, microseconds=1), "not a positive number"),
        (timedelta(days=3651), "longer than what is left of the root"),
    ],
)
def test_a_lifetime_of_an_issuing_ca_that_breaks_the_arithmetic_is_refused_when_it_is_set(
    ca: Authority, lifetime: timedelta, why: str
) -> None:
    ways: list[Callable[[], object]] = [
        lambda: ca.prepare_issuer(lifetime=lifetime),
        lambda: ca.request_issuer(lifetime=lifetime),
        lambda: ca.rotate(lifetime=lifetime),
    ]
    for way in ways:
        with pytest.raises(InputError, match=why):
            way()
    assert len(ca.issuers()) == 2
    assert len(list(ca.path.glob("issuing-*.key.pem"))) == 1


def test_an_issuing_ca_ends_when_it_was_asked_to_or_is_not_made(
    ca: Authority, clock: Clock
) -> None:
    clock.move(days=3650 - 365)
    end = ca.issuers()[0].certificate.not_valid_after_utc
    assert ca.rotate().certificate.not_valid_after_utc == end
    clock.move(seconds=1)
    with pytest.raises(InputError, match="left of the root") as caught:
        ca.rotate()
    assert "handfast ca root prepare" in caught.value.remedy
    assert "--lifetime 364d" in caught.value.remedy
    ca.rotate(lifetime=timedelta(days=364))


def test_what_is_due_is_told_with_its_time(ca: Authority, clock: Clock) -> None:
    def needed() -> list[str]:
        return [due.needed(clock.at) for due in ca.rotation_status().dues]

    root, first = ca.rotation_status().dues
    assert first.prepare - NOW == pytest.approx(timedelta(days=365 / 2), abs=timedelta(minutes=1))
    assert first.activate - NOW == pytest.approx(
        timedelta(days=365 * 5 / 6), abs=timedelta(minutes=1)
    )
    assert root.prepare - NOW == pytest.approx(YEARS / 2, abs=timedelta(minutes=1))
    assert needed() == ["", ""]
    clock.move(days=183)
    assert needed() == ["", "prepare"]
    ca.prepare_issuer()
    assert needed() == ["", ""]
    clock.move(days=122)
    assert needed() == ["", "activate"]
    ca.activate_issuer()
    assert needed() == ["", ""]
    clock.move(days=1825 - 305)
    assert needed()[0] == "prepare"
