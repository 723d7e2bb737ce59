"""The alerts of ``explain`` and of ``doctor`` agree."""

from __future__ import annotations

import pytest

from pki.diagnosis.checks.tls_alerts import ALERTS as OBSERVED
from pki.failures import FAILURES
from pki.failures.alerts import ALERTS


def test_every_alert_stands_for_failures_that_there_are() -> None:
    for alert in ALERTS.values():
        assert alert.slugs
        assert set(alert.slugs) <= set(FAILURES), alert


def test_both_know_the_same_alerts() -> None:
    assert set(ALERTS) == set(OBSERVED)


@pytest.mark.parametrize("number", list(ALERTS))
def test_a_text_alone_may_mean_all_that_an_alert_may_mean_in_a_handshake(number: int) -> None:
    observed = OBSERVED[number]
    assert {*observed.at_start, *observed.on_certificate} <= set(ALERTS[number].slugs)
    # Doctor sees more than a text says; what a text proves, doctor must not doubt.
    assert observed.is_sure or len(ALERTS[number].slugs) > 1 or len(observed.at_start) == 1
