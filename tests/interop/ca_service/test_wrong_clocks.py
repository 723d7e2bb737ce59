"""Workloads whose clock differs from the CA's, and answers that were lost before a long sleep."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pki.ca_client import CaIdentity, calls
from pki.clock import system_clock
from pki.errors import CaUnreachableError, StateError
from pki.proofs import EnrollmentToken
from tests.ca_service import Served
from tests.interop.shop import eventually


def test_a_clock_that_is_ahead_renews_no_certificate_over_and_over(
    ca: Served, tmp_path: Path
) -> None:
    ca.register("orders", lifetime=timedelta(minutes=5))
    ahead = timedelta(minutes=4)

    def clock() -> datetime:
        return system_clock() + ahead

    token = EnrollmentToken.parse(ca.token("orders"))
    with CaIdentity(tmp_path / "orders", token=token, clock=clock) as identity:
        assert eventually(lambda: "clock is ahead" in identity.problem)
        time.sleep(5)
        records = ca.authority.certificates_of(identity.spiffe_id)
    assert len(records) <= 3


def test_a_recovery_whose_answer_was_lost_is_gone_on_from_at_once(
    ca: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca.register("orders", lifetime=timedelta(seconds=5))
    place = tmp_path / "orders"
    CaIdentity(place, token=EnrollmentToken.parse(ca.token("orders"))).close()
    time.sleep(6.5)
    with monkeypatch.context() as patch:

        def lose(*arguments: Any, **how: Any) -> Any:
            recover(*arguments, **how)
            raise CaUnreachableError("the answer was lost")

        recover = calls.recover
        patch.setattr(calls, "recover", lose)
        with pytest.raises(StateError, match="the answer was lost") as caught:
            CaIdentity(place)
        assert "tried again by itself" in caught.value.remedy
    time.sleep(6.5)
    with CaIdentity(place) as identity:
        assert not identity.problem
        identity.renew_now()
        assert not identity.problem
