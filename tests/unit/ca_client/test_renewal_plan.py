"""The plan of an identity's renewals, by two clocks that may disagree."""

from __future__ import annotations

from datetime import datetime, timedelta

from pki.ca_client.renewal_plan import RenewalPlan
from pki.errors import CaRefusedError, CaUnreachableError
from pki.identity import SpiffeId
from tests.support import NOW, SHOP, Hierarchy

LEAF = Hierarchy().leaf()
BEGIN, END = LEAF.not_valid_before_utc, LEAF.not_valid_after_utc
MIDDLE = BEGIN + (END - BEGIN) / 2
WINDOW = (MIDDLE, MIDDLE)


class Bench:
    def __init__(self) -> None:
        self.now, self.seconds = NOW, 0.0
        self.plan = RenewalPlan(
            SpiffeId.of_path(SHOP, "orders"), lambda: self.now, lambda: self.seconds
        )

    def at(self, moment: datetime) -> bool:
        self.now = moment
        return self.plan.is_due


def test_a_recovery_does_not_wait_for_the_pause_of_failed_renewals() -> None:
    bench = Bench()
    bench.plan.begin(WINDOW, LEAF)
    assert bench.at(END - timedelta(seconds=3))
    for _ in range(30):
        bench.plan.failed(CaUnreachableError("gone"), recovering=False)
    bench.plan.failed(CaRefusedError("no", reason="NOT_RENEWABLE"), recovering=False)
    assert not bench.at(END - timedelta(seconds=2))
    assert bench.at(END + timedelta(seconds=1))
    bench.plan.failed(CaUnreachableError("gone"), recovering=True)
    assert "could not be recovered" in bench.plan.problem
    assert not bench.at(END + timedelta(seconds=1)), "once, and not each time"


def test_a_renewal_that_fails_at_the_end_is_called_one() -> None:
    bench = Bench()
    bench.plan.begin(WINDOW, LEAF)
    bench.now = END + timedelta(seconds=5)
    bench.plan.failed(CaUnreachableError("gone"), recovering=False)
    assert "could not be renewed" in bench.plan.problem
    assert "tried again by itself" in bench.plan.remedy
    bench.plan.failed(CaRefusedError("no", reason="NOT_RECOVERABLE"), recovering=True)
    assert bench.plan.remedy == "Enroll again, with a new token"


def test_a_window_that_was_over_when_its_certificate_came_brings_no_loop() -> None:
    """As on a machine whose clock is ahead of the CA's."""
    bench = Bench()
    bench.now = now = MIDDLE + timedelta(minutes=5)
    bench.plan.succeeded(WINDOW, LEAF)
    assert bench.plan.is_due, "it may have been handed out again"
    bench.plan.succeeded(WINDOW, LEAF)
    assert not bench.plan.is_due
    assert "clock is ahead" in bench.plan.problem
    assert not bench.at(now + (END - now) * 0.35)
    assert bench.at(now + (END - now) * 0.65)


def test_a_certificate_from_disk_is_renewed_at_once_if_its_window_is_over() -> None:
    bench = Bench()
    bench.plan.begin(WINDOW, LEAF)
    assert bench.at(MIDDLE + timedelta(seconds=1))
    assert not bench.plan.problem


def test_a_certificate_that_begins_later_is_told_and_replaced() -> None:
    bench = Bench()
    bench.plan.begin(WINDOW, LEAF)
    assert bench.at(BEGIN - timedelta(minutes=20))
    bench.plan.failed(CaRefusedError("no", reason="NOT_RECOVERABLE"), recovering=True)
    assert "begins only at" in bench.plan.problem
    assert not bench.plan.is_due
    # The clock is set right.
    assert not bench.at(BEGIN + timedelta(minutes=1))
    assert not bench.plan.problem


def test_nothing_is_due_without_a_certificate() -> None:
    bench = Bench()
    assert not bench.plan.is_due
    bench.plan.failed(CaUnreachableError("gone"), recovering=True)
    assert not bench.plan.problem
