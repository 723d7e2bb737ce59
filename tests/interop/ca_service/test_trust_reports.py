"""What a workload trusts is told to the CA, and not again and again."""

from __future__ import annotations

from pathlib import Path

from pki.ca_client import CaIdentity
from pki.proofs import EnrollmentToken
from tests.ca_service import Served
from tests.interop.shop import eventually


class Seconds:
    """Seconds that only grow, by hand."""

    at = 0.0

    def __call__(self) -> float:
        return self.at


def reports(ca: Served) -> int:
    return ca.service.parts.counters.requests().get(("ReportTrust", "OK"), 0)


def test_what_the_ca_was_told_is_told_again_seldom(ca: Served, tmp_path: Path) -> None:
    seconds = Seconds()
    token = EnrollmentToken.parse(ca.token("orders"))
    with CaIdentity(tmp_path / "orders", token=token, monotonic=seconds) as identity:
        assert eventually(lambda: reports(ca) == 1)
        # The CA has recorded it before its answer is here, which plans the next one.
        assert eventually(lambda: identity._report._next > seconds.at + 700)
        seconds.at += 700
        assert not identity._report.is_due(identity.bundle_number)
        seconds.at += 400
        assert eventually(lambda: reports(ca) == 2)


def test_a_new_certificate_is_told_at_once(ca: Served, tmp_path: Path) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    with CaIdentity(tmp_path / "orders", token=token, monotonic=Seconds()) as identity:
        assert eventually(lambda: reports(ca) == 1)
        identity.renew_now()
        assert eventually(lambda: reports(ca) == 2)


def test_a_report_that_failed_is_made_again_soon(ca: Served, tmp_path: Path) -> None:
    seconds = Seconds()
    token = EnrollmentToken.parse(ca.token("orders"))
    with CaIdentity(tmp_path / "orders", token=token, monotonic=seconds) as identity:
        assert eventually(lambda: reports(ca) == 1)
        report = identity._report
        # As while there is no connection to the CA.
        report.send(None, 1, identity.credential.leaf.serial_number, 0)
        assert not report.is_due(identity.bundle_number)
        seconds.at += 73
        assert eventually(lambda: reports(ca) == 2)
