"""When an identity is renewed, and how long it waits after a failure."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pki.ca_client.renewal_times import choose_time, pause_after
from pki.ca_client.rpc_errors import BusyCaError
from pki.errors import CaRefusedError, CaUnreachableError
from tests.support import NOW, Hierarchy

LEAF = Hierarchy().leaf()


def test_a_renewal_falls_into_the_window_that_the_ca_gave() -> None:
    begin = LEAF.not_valid_before_utc + timedelta(minutes=1)
    end = begin + timedelta(minutes=1)
    for _ in range(50):
        assert begin <= choose_time((begin, end), LEAF) <= end


@pytest.mark.parametrize("shift", [timedelta(days=-400), timedelta(days=400)])
def test_a_window_outside_the_certificate_is_not_followed(shift: timedelta) -> None:
    begin, end = LEAF.not_valid_before_utc, LEAF.not_valid_after_utc
    for window in ((NOW + shift, NOW + shift), (end, begin)):
        chosen = choose_time(window, LEAF)
        assert begin + (end - begin) * 0.5 <= chosen <= begin + (end - begin) * 0.6


def test_pauses_grow_and_several_attempts_fit_in() -> None:
    gone = CaUnreachableError("gone")
    assert pause_after(gone, attempts=1, remaining=3600) <= 1.0
    assert 30 <= pause_after(gone, attempts=100, remaining=3600) <= 60
    assert pause_after(gone, attempts=100, remaining=8) <= 1.0
    assert pause_after(gone, attempts=1, remaining=-1) <= 1.0


def test_the_ca_may_say_when_to_come_back() -> None:
    busy = BusyCaError("busy", 7.0)
    assert 7.0 <= pause_after(busy, attempts=1, remaining=3600) <= 10.5


def test_what_is_refused_for_good_is_not_asked_again_soon() -> None:
    refused = CaRefusedError("blocked", reason="NOT_RENEWABLE")
    assert pause_after(refused, attempts=1, remaining=8) == 60.0
    other = CaRefusedError("later", reason="CA_UNAVAILABLE")
    assert pause_after(other, attempts=1, remaining=8) <= 1.0
