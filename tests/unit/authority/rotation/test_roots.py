"""Replacing a root: each step in its turn, none that strands a workload, and a CA that goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority, Issued
from pki.authority.ledger import IssuerKind, IssuerStatus
from pki.authority.rotation.root import make_root
from pki.authority.rotation.status import StepState
from pki.errors import InputError, NotPermittedError, StateError, VerificationError
from pki.identity import SpiffeId, TrustDomain
from pki.keys import generate_key
from pki.x509 import WORKLOAD, ChainVerifier, CrlSet, Fault, Purpose, TrustBundle
from pki.x509.bundle_chain import follow
from tests.support import NOW, SHOP, Clock, make_authority

YEARS = timedelta(days=3650)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path, clock) as made:
        yield made


def spiffe(path: str) -> SpiffeId:
    return SpiffeId.of_path(SHOP, path)


def serial(issued: Issued) -> str:
    return f"{issued.leaf.serial_number:x}"


def accepts(trust: tuple[TrustBundle, CrlSet], issued: Issued, ca: Authority) -> bool:
    try:
        ChainVerifier(*trust).verify(
            issued.chain, profile=WORKLOAD, purpose=Purpose.SERVER, at=ca.now()
        )
    except VerificationError:
        return False
    return True


def statuses(ca: Authority) -> list[tuple[str, str]]:
    return [(item.kind.value, item.status.value) for item in ca.issuers()]


def test_a_root_is_replaced_and_every_step_is_a_link_of_one_chain(
    ca: Authority, clock: Clock
) -> None:
    old = ca.issue("orders")
    old_trust = ca.trust()
    (first,) = ca.bundles()
    ca.prepare_root()
    both = ca.trust()
    assert len(both[0].all_roots()) == 2
    assert accepts(both, old, ca)
    # What is issued meanwhile hangs on the old root, so nobody needs the new one yet.
    assert accepts(old_trust, ca.issue("audit"), ca)
    ca.report_trust([(spiffe("orders"), serial(old))], 2)
    root, stranded = ca.activate_root()
    assert (root.status, stranded) == (IssuerStatus.ACTIVE, ())
    new = ca.issue("payments")
    assert accepts(both, new, ca)
    assert not accepts(old_trust, new, ca)
    assert accepts(ca.trust(), old, ca)
    clock.move(hours=2)
    request, hanging = ca.withdraw_root()
    assert (request, hanging) == (None, ())
    last = ca.trust()
    newer = ca.issue("payments")
    assert accepts(last, newer, ca)
    assert last[0].all_roots() == (root.certificate,)
    # Two CRLs: those of the old root and its issuing CA are published no longer.
    assert len(last[1].crls) == 2
    assert follow(first, ca.bundles(since=1), now=ca.now()).content.roots == (root.certificate,)
    assert [item.number for item in ca.bundles(since=1, most=1)] == [2]
    assert statuses(ca) == [
        ("root", "withdrawn"),
        ("issuing", "withdrawn"),
        ("root", "active"),
        ("issuing", "active"),
    ]


def test_after_a_rotation_everything_else_works_under_the_new_root(
    ca: Authority, clock: Clock, tmp_path: Path
) -> None:
    ca.prepare_root()
    root, _ = ca.activate_root()
    ca.withdraw_root()
    record = ca.rotate()
    assert record.certificate.issuer == root.certificate.subject
    issued = ca.issue("orders")
    (revoked,) = ca.revoke(issued.leaf.serial_number)
    assert revoked.issuer_id == record.id
    assert not accepts(ca.trust(), issued, ca)
    ca.refresh_crls(force=True)
    (tmp_path / "ca" / f"root-{root.key_id}.key.pem").unlink()
    ca.distrust(record.key_id)
    with Authority.open(tmp_path / "ca", clock=clock) as again:
        assert again.trust()[0].all_roots() == (root.certificate,)


def test_the_key_of_a_withdrawn_root_and_of_its_issuing_cas_may_be_destroyed(
    ca: Authority, tmp_path: Path
) -> None:
    old = ca.issue("orders")
    _, old_issuing = ca.issuers()
    ca.report_trust([], 1)
    ca.prepare_root()
    ca.activate_root(force=True)
    ca.withdraw_root(force=True)
    (tmp_path / "ca" / "root.key.pem").unlink()
    (tmp_path / "ca" / f"issuing-{old_issuing.key_id}.key.pem").unlink()
    assert ca.refresh_crls(force=True) == 1
    ca.revoke(old.leaf.serial_number)
    renewed = ca.issue("orders")
    assert accepts(ca.trust(), renewed, ca)
    assert Authority.recover(tmp_path / "ca", clock=Clock()).was_older is False


# Steps out of order


@pytest.mark.parametrize(
    ("steps", "step", "what", "first"),
    [
        ((), "activate_root", "none is prepared", "handfast ca root prepare"),
        ((), "withdraw_root", "none is prepared", "handfast ca root prepare"),
        (("prepare_root",), "prepare_root", "is prepared already", "handfast ca root activate"),
        (("prepare_root",), "withdraw_root", "only prepared", "handfast ca root activate"),
        (
            ("prepare_root", "activate_root"),
            "activate_root",
            "none is prepared",
            "handfast ca root prepare",
        ),
        (
            ("prepare_root", "activate_root"),
            "prepare_root",
            "is still trusted",
            "handfast ca root withdraw",
        ),
    ],
)
def test_a_step_out_of_order_is_refused_with_what_comes_first(
    ca: Authority, steps: tuple[str, ...], step: str, what: str, first: str
) -> None:
    for earlier in steps:
        getattr(ca, earlier)()
    before = statuses(ca), len(ca.bundles())
    with pytest.raises(StateError, match=what) as caught:
        getattr(ca, step)()
    assert first in caught.value.remedy
    assert (statuses(ca), len(ca.bundles())) == before


def test_a_prepared_root_can_be_given_up(ca: Authority) -> None:
    old = ca.issue("orders")
    ca.prepare_root()
    prepared = ca.issuers()[2]
    assert ca.withdraw_root(prepared.key_id[:8]) == (None, ())
    assert accepts(ca.trust(), old, ca)
    assert accepts(ca.trust(), ca.issue("payments"), ca)
    assert len(ca.trust()[0].all_roots()) == 1
    ca.prepare_root()
    ca.activate_root(force=True)


def test_the_active_root_and_one_that_is_not_there_are_not_withdrawn(ca: Authority) -> None:
    with pytest.raises(StateError, match="is the active one"):
        ca.withdraw_root(ca.issuers()[0].key_id)
    for wrong in ("", "zz", ca.issuers()[1].key_id):
        with pytest.raises(InputError, match="names 0"):
            ca.withdraw_root(wrong)


# Who would be stranded


def test_activation_is_refused_while_somebody_is_not_known_to_trust_the_new_root(
    ca: Authority, clock: Clock
) -> None:
    orders, payments = ca.issue("orders"), ca.issue("payments", lifetime=timedelta(hours=3))
    ca.prepare_root()
    later = ca.issue("audit")
    with pytest.raises(StateError, match="would strand 2") as caught:
        ca.activate_root()
    assert "orders" in caught.value.message
    assert "payments" in caught.value.message
    assert "15:00:00" in caught.value.remedy
    assert "--force" in caught.value.remedy
    status = ca.rotation_status()
    assert [(step.name, step.state) for step in status.steps] == [
        ("prepare", StepState.DONE),
        ("distribute", StepState.OPEN),
        ("activate", StepState.WAITING),
        ("withdraw", StepState.WAITING),
    ]
    assert status.steps[2].free_at == payments.leaf.not_valid_after_utc
    numbers = {item.certificate.serial: item.bundle_number for item in status.holders}
    assert numbers == {serial(orders): 1, serial(payments): 1, serial(later): 2}
    assert ca.report_trust([(spiffe("payments"), serial(payments))], 2) == 1
    assert ca.report_trust([(spiffe("payments"), serial(payments))], 2) == 0
    with pytest.raises(StateError, match="would strand 1"):
        ca.activate_root()
    clock.move(hours=1, seconds=1)
    # The certificate of orders has ended: it can talk to nobody, so nobody is stranded.
    ca.activate_root()


def test_withdrawal_is_refused_while_a_certificate_hangs_on_the_root(
    ca: Authority, clock: Clock
) -> None:
    orders = ca.issue("orders")
    ca.prepare_root()
    ca.report_trust([(spiffe("orders"), serial(orders))], 2)
    ca.activate_root()
    with pytest.raises(StateError, match="would strand 1 holders of certificates that hang"):
        ca.withdraw_root()
    ca.renew(orders.leaf)
    with pytest.raises(StateError, match="would strand 1"):
        ca.withdraw_root()
    assert len(ca.bundles()) == 2
    assert ca.rotation_status().steps[3].free_at == orders.leaf.not_valid_after_utc
    clock.move(hours=1, seconds=1)
    assert ca.rotation_status().steps[3].state is StepState.OPEN
    ca.withdraw_root()


def test_a_revoked_certificate_hinders_no_step(ca: Authority) -> None:
    orders = ca.issue("orders")
    ca.prepare_root()
    ca.revoke(orders.leaf.serial_number)
    ca.activate_root()
    ca.withdraw_root()


def test_force_names_and_records_each_one_that_it_strands(ca: Authority) -> None:
    made = [ca.issue("orders"), ca.issue("payments")]
    ca.prepare_root()
    _, stranded = ca.activate_root(force=True)
    assert {item.certificate.serial for item in stranded} == {serial(item) for item in made}
    _, hanging = ca.withdraw_root(force=True)
    assert len(hanging) == 2
    events = [text for _, kind, text in ca.events() if kind == "stranded"]
    assert len(events) == 4
    for issued in made:
        assert sum(serial(issued) in text for text in events) == 2
    # They come back: the CA knows their certificates, and renews them under the new root.
    assert accepts(ca.trust(), ca.renew(made[0].leaf), ca)


def test_a_report_counts_for_the_line_of_its_sender_alone(ca: Authority, clock: Clock) -> None:
    parent = ca.issue("orders")
    other = ca.issue("orders")
    clock.move(minutes=30)
    child = ca.renew(parent.leaf)
    ca.prepare_root()
    with pytest.raises(StateError, match="would strand 3"):
        ca.activate_root()
    ca.report_trust([(spiffe("orders"), serial(child))], 2)
    with pytest.raises(StateError, match="would strand 1") as caught:
        ca.activate_root()
    assert serial(other) in caught.value.message
    # A workload that went back to an older bundle says so.
    ca.report_trust([(spiffe("orders"), serial(child))], 1)
    with pytest.raises(StateError, match="would strand 3"):
        ca.activate_root()


def test_a_renewal_after_the_new_bundle_says_nothing_of_who_still_uses_the_old_certificate(
    ca: Authority,
) -> None:
    """The answer may have been lost, and the workload goes on with what it has."""
    orders = ca.issue("orders")
    ca.prepare_root()
    renewed = ca.renew(orders.leaf)
    with pytest.raises(StateError, match="would strand 1") as caught:
        ca.activate_root()
    assert serial(orders) in caught.value.message
    assert serial(renewed) not in caught.value.message


def test_a_report_of_another_workloads_certificate_or_of_no_bundle_is_refused(
    ca: Authority,
) -> None:
    orders = ca.issue("orders")
    for held in ([(spiffe("payments"), serial(orders))], [(spiffe("orders"), "abcd")]):
        with pytest.raises(NotPermittedError):
            ca.report_trust(held, 1)
    for number in (-1, 0, 2):
        with pytest.raises(InputError, match="no trust bundle"):
            ca.report_trust([(spiffe("orders"), serial(orders))], number)
    with pytest.raises(InputError):
        ca.bundles(since=-1)


# What a new root must be


def test_a_root_that_cannot_take_the_place_of_the_old_one_is_refused(
    ca: Authority, clock: Clock
) -> None:
    key = generate_key()

    def root(
        domain: str = "shop.internal", at: timedelta = timedelta(0), key: object = key
    ) -> object:
        return make_root(
            TrustDomain(domain),
            key,  # type: ignore[arg-type]
            lifetime=YEARS,
            issuing_lifetime=timedelta(days=365),
            backdate=timedelta(minutes=1),
            now=NOW + at,
        )

    leaf = ca.issue("orders")
    assert leaf.key is not None
    present = ca.issuers()
    refused: list[object] = [
        root("bank.internal"),
        root(at=timedelta(days=1)),
        root(at=-YEARS),
        root(at=timedelta(days=100) - YEARS),
        root(key=leaf.key),
        present[0].certificate,
        present[1].certificate,
        leaf.leaf,
    ]
    for certificate in refused:
        with pytest.raises((InputError, StateError, NotPermittedError)):
            ca.prepare_root(certificate)  # type: ignore[arg-type]
    assert ca.issuers() == present
    assert len(list((ca.path).glob("issuing-*.key.pem"))) == 1


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
