"""The server's own credential rules causes out, and never the last one."""

from __future__ import annotations

from pki.diagnosis.checks.other_end import weigh_by_other_end
from pki.diagnosis.report import failed, ok, warning

ACCEPTS = "accepts our certificate"
LIKELY = [
    failed(ACCEPTS, "unknown-ca", "a", likelihood=60),
    failed(ACCEPTS, "clock-skew", "b", likelihood=50),
    failed(ACCEPTS, "revoked", "c", likelihood=40),
]


def test_what_passed_at_the_server_is_no_cause() -> None:
    left = weigh_by_other_end(LIKELY, [ok("ours, at the server: trust", "good")])
    assert [item.failure for item in left] == ["clock-skew", "revoked"]


def test_what_the_server_warns_of_comes_first() -> None:
    seen = [warning("ours, at the server: revocation", "revoked", "so it is")]
    left = weigh_by_other_end(LIKELY, seen)
    assert max(left, key=lambda item: item.likelihood).failure == "revoked"


def test_the_last_cause_of_a_check_stays() -> None:
    left = weigh_by_other_end(LIKELY[:1], [ok("ours, at the server: trust", "good")])
    assert left == LIKELY[:1]


def test_what_was_observed_stays() -> None:
    sure = [failed("server certificate: trust", "unknown-ca", "seen")]
    assert weigh_by_other_end(sure, [ok("ours, at the server: trust", "good")]) == sure
