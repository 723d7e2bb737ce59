"""Renewals are spread over the middle of a certificate's life."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from pki.daemon.limits.renewal_slots import RenewalSlots
from tests.support import NOW


@given(st.integers(1, 24 * 3600))
def test_a_window_lies_between_40_and_60_percent_of_the_life(seconds: int) -> None:
    life = timedelta(seconds=seconds)
    slots = RenewalSlots()
    for _ in range(20):
        begin, end = slots.window(NOW, life)
        assert NOW + life * 0.4 <= begin < end
        assert end <= NOW + life * 0.6 + timedelta(microseconds=20)


def test_certificates_that_were_issued_together_are_not_renewed_together() -> None:
    slots = RenewalSlots()
    begins = [slots.window(NOW, timedelta(hours=1))[0] for _ in range(1200)]
    counts = {begin: begins.count(begin) for begin in begins}
    assert len(counts) == 12
    assert max(counts.values()) - min(counts.values()) <= 2


def test_what_is_past_is_forgotten() -> None:
    slots = RenewalSlots()
    for number in range(2_000):
        slots.window(NOW + timedelta(minutes=10 * number), timedelta(hours=24))
    assert len(slots._expected) < 120_000
