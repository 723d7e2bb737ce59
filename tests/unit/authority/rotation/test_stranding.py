"""No step of a rotation strands a workload, unless it is forced; then each one is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.rotation.reports import report_trust
from pki.authority.rotation.status import StepState
from pki.errors import InputError, LedgerError, NotPermittedError, StateError
from tests.rotating import accepts, serial, spiffe
from tests.stuck_ledger import stuck_ledger
from tests.support import Clock, make_authority


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path, clock) as made:
        yield made


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


@pytest.mark.sqlite
def test_a_report_that_says_nothing_new_waits_for_nobody_who_writes(
    ca: Authority, clock: Clock
) -> None:
    orders = ca.issue("orders")
    ca.prepare_root()
    context = replace(ca.context, ledger=ca.context.ledger.waiting(0.1))
    with stuck_ledger(ca.context.directory.path):
        assert report_trust(context, [(spiffe("orders"), serial(orders))], 1) == 0
        with pytest.raises(LedgerError):
            report_trust(context, [(spiffe("orders"), serial(orders))], 2)
    assert report_trust(context, [(spiffe("orders"), serial(orders))], 2) == 1


def test_withdrawal_is_refused_while_a_certificate_hangs_on_the_root(
    ca: Authority, clock: Clock
) -> None:
    orders = ca.issue("orders")
    ca.prepare_root()
    ca.report_trust([(spiffe("orders"), serial(orders))], 2)
    ca.activate_root()
    with pytest.raises(StateError, match="would strand 1 holder of certificates that hang"):
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
