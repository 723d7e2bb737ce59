"""A renewal that is asked for during another, and two lines of one workload side by side."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from pki._proto.handfast.ca.v1 import trust_pb2
from pki.ca_client import CaIdentity
from pki.ca_client.identity_metrics import IdentityCollector
from pki.ca_client.rpc_errors import BusyCaError
from pki.daemon.limits.budgets import Budget, Budgets
from pki.errors import PkiError
from pki.proofs import EnrollmentToken
from tests.ca_service import Served
from tests.interop.asking import refused
from tests.interop.shop import eventually


def test_a_renewal_that_is_asked_for_during_another_is_no_theft(
    ca: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    with (
        CaIdentity(tmp_path / "orders", token=token) as identity,
        ThreadPoolExecutor(1) as threads,
    ):
        first = identity.credential.leaf.serial_number
        asked: list[Future[None]] = []
        save = identity._store.save

        def save_and_ask_again(*arguments: Any, **how: Any) -> None:
            save(*arguments, **how)
            # The next request would have another key, and the same certificate is still in use.
            if not asked:
                asked.append(threads.submit(identity.renew_now))
                wait(asked, 1.0)

        monkeypatch.setattr(identity._store, "save", save_and_ask_again)
        identity.renew_now()
        asked[0].result()
        assert identity.credential.leaf.serial_number != first
        assert ca.authority.events() == ()


def test_two_lines_of_one_workload_are_told_apart(ca: Served, tmp_path: Path) -> None:
    tokens = [EnrollmentToken.parse(ca.token("orders")) for _ in range(2)]
    with (
        CaIdentity(tmp_path / "one", token=tokens[0]) as one,
        CaIdentity(tmp_path / "two", token=tokens[1]) as two,
    ):
        registry = CollectorRegistry()
        registry.register(IdentityCollector(lambda: [one, two], lambda: 0))
        lines = generate_latest(registry).decode().splitlines()
        for identity in (one, two):
            serial = f"{identity.credential.leaf.serial_number:x}"
            (line,) = [item for item in lines if f'serial="{serial}"' in item]
            assert f'directory="{identity.directory}"' in line
        names = [line.partition(" ")[0] for line in lines if not line.startswith("#")]
        assert len(set(names)) == len(names)
        assert "handfast_identity_recoveries_left" in " ".join(names), "said at the enrollment"
        # A failure is told, and then a success.
        assert one.renewals.last_failure is None
        one.renew_now()
        assert one.renewals.last_success is not None


def test_one_instance_reports_nothing_for_another(ca: Served, tmp_path: Path) -> None:
    tokens = [EnrollmentToken.parse(ca.token("orders")) for _ in range(2)]
    with (
        CaIdentity(tmp_path / "one", token=tokens[0]) as one,
        CaIdentity(tmp_path / "two", token=tokens[1]) as two,
    ):
        connection = one._connect()
        assert connection is not None

        def report(identity: CaIdentity) -> None:
            serial = f"{identity.credential.leaf.serial_number:x}"
            asked = trust_pb2.ReportTrustRequest(bundle_number=1, serial=serial)
            connection.trust.ReportTrust(asked, timeout=10)

        report(one)
        assert refused(lambda: report(two)) == "NAME_NOT_PERMITTED"
        # The new certificate is of the same line, whichever one the connection shows.
        one.renew_now()
        report(one)


def renew_at_once(identity: CaIdentity) -> None:
    """Renew, as soon as the connection shows the newest certificate."""
    before = identity.credential.leaf

    def is_renewed() -> bool:
        identity.renew_now()
        if identity.credential.leaf == before:
            time.sleep(0.1)  # the connection still shows the certificate before it
        return identity.credential.leaf != before

    assert eventually(is_renewed)


def test_who_renews_in_a_loop_is_stopped_and_told_when_to_come_back(
    ca: Served, tmp_path: Path
) -> None:
    seconds = Seconds()
    budgets = ca.service.parts.budgets = Budgets(seconds)
    token = EnrollmentToken.parse(ca.token("orders"))
    other = EnrollmentToken.parse(ca.token("orders"))
    with (
        CaIdentity(tmp_path / "orders", token=token) as looping,
        CaIdentity(tmp_path / "other", token=other) as beside,
    ):
        for _ in range(10):
            renew_at_once(looping)
        refusals: list[PkiError] = []

        def is_busy() -> bool:
            with pytest.raises(PkiError) as caught:
                looping._obtain(recovering=False)
            refusals.append(caught.value)
            return isinstance(caught.value, BusyCaError)

        assert eventually(is_busy)
        refusal = refusals[-1]
        assert isinstance(refusal, BusyCaError)
        assert refusal.retry_after is not None
        assert 0 < refusal.retry_after <= 361
        assert budgets.refused[Budget.LINE] == 1
        # The other instance of the same workload is another line.
        renew_at_once(beside)
        seconds.at += refusal.retry_after
        renew_at_once(looping)
        with ca.authority.context.ledger.snapshot() as transaction:
            assert len(transaction.certificates()) < 20


def test_who_has_certificates_of_five_seconds_is_never_stopped(ca: Served, tmp_path: Path) -> None:
    seconds = Seconds()
    budgets = ca.service.parts.budgets = Budgets(seconds)
    ca.register("orders", lifetime=timedelta(seconds=5))
    token = EnrollmentToken.parse(ca.token("orders"))
    with CaIdentity(tmp_path / "orders", token=token) as identity:
        for _ in range(30):
            seconds.at += 2
            renew_at_once(identity)
    assert sum(budgets.refused.values()) == 0


class Seconds:
    """Seconds that only grow, by hand."""

    at = 0.0

    def __call__(self) -> float:
        return self.at
