"""A CA that is served prunes by itself, and not while its clock may be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.daemon.pruning import PruneUpkeep
from tests.support import Clock, make_authority


class Clocks:
    """The clock of the CA, and the monotonic one."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.seconds = 1000.0

    def pass_by(self, **by: float) -> None:
        self.clock.move(**by)
        self.seconds += timedelta(**by).total_seconds()


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def ca(tmp_path: Path, clocks: Clocks) -> Iterator[Authority]:
    with make_authority(tmp_path, clocks.clock) as authority:
        authority.issue("orders")
        clocks.clock.move(days=40)
        authority.issue("web")
        yield authority


def upkeep(ca: Authority, clocks: Clocks) -> PruneUpkeep:
    return PruneUpkeep(ca.context, timedelta(days=30), lambda: clocks.seconds)


def test_it_prunes_once_the_clock_has_been_watched_for_an_hour(
    ca: Authority, clocks: Clocks
) -> None:
    it = upkeep(ca, clocks)
    clocks.pass_by(minutes=59)
    it.run()
    assert it.pruned == 0
    clocks.pass_by(minutes=2)
    it.run()
    assert it.pruned == 1
    it.run()
    assert it.pruned == 1


def test_a_clock_that_jumps_begins_the_hour_anew(ca: Authority, clocks: Clocks) -> None:
    revoked = ca.issue("payments")
    ca.revoke(revoked.leaf.serial_number)
    ca.issue("newest")
    it = upkeep(ca, clocks)
    clocks.pass_by(minutes=61)
    clocks.clock.move(days=100)
    it.run()
    clocks.pass_by(minutes=30)
    it.run()
    assert it.pruned == 0
    clocks.clock.move(days=-100)
    it.run()
    clocks.pass_by(minutes=61)
    it.run()
    assert it.pruned == 1
    record = ca.certificate(revoked.leaf.serial_number)
    assert record is not None
    assert record.revoked_at is not None


def test_a_time_that_the_audit_log_does_not_confirm_is_not_believed(
    tmp_path: Path, clocks: Clocks
) -> None:
    """As of a service that was started while its clock was ahead, and is right for itself."""
    with make_authority(tmp_path, clocks.clock) as ca:
        ca.issue("orders")
        ca.issue("web")
        clocks.clock.move(days=100)
        it = upkeep(ca, clocks)
        clocks.pass_by(minutes=61)
        it.run()
        assert it.pruned == 0
        ca.issue("payments")
        clocks.pass_by(minutes=61)
        it.run()
        assert it.pruned == 2
