"""The decision log: what is written, and how a flood of refusals is kept from the disk."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access.call_verdict import CallVerdict
from pki.access.decision_log import DecisionLog, LogWhen
from pki.access.rate_limiter import BURST, BURST_OF_ALL, RateLimiter
from pki.access.refusal import Refusal
from pki.authz import Decision, Reason

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC).timestamp()
NO_ROLE = Refusal(ErrorReason.NO_ROLE, "has no role here")


class Seconds:
    """A clock of seconds that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def judged(
    principal: str = "spiffe://shop.internal/stranger",
    *,
    refusal: Refusal | None = NO_ROLE,
    audited: Refusal | None = None,
    method: str = "/shop.v1.Orders/Get",
) -> CallVerdict:
    reason = Reason.NO_ROLE if refusal or audited else Reason.ALLOWED
    decision = Decision(allowed=reason is Reason.ALLOWED, reason=reason, roles=())
    return CallVerdict(method, None, refusal, decision, principal, "1f", "CN=ca", audited=audited)


class Written:
    """A log under a clock that tests move, and what it wrote."""

    def __init__(self, caplog: pytest.LogCaptureFixture, when: str = "both") -> None:
        caplog.set_level(logging.INFO, logger="handfast.decisions")
        self.caplog = caplog
        self.clock = Seconds()
        self.log = DecisionLog(LogWhen(when), "policy.toml", limiter=RateLimiter(self.clock))

    def write(self, judgement: CallVerdict, times: int = 1) -> None:
        for _ in range(times):
            if self.log.is_enabled_for(judgement):
                self.log.write(judgement, NOW)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(record.getMessage()) for record in self.records]

    @property
    def levels(self) -> list[str]:
        return [record.levelname for record in self.records]

    @property
    def records(self) -> list[logging.LogRecord]:
        # The background thread may log what an earlier test left to it.
        return [item for item in self.caplog.records if item.name == "handfast.decisions"]


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Written:
    return Written(caplog)


def test_an_audited_call_is_a_warning_that_says_what_would_refuse_it(written: Written) -> None:
    written.write(judged(refusal=None, audited=NO_ROLE))
    assert written.levels == ["WARNING"]
    assert written.lines[0]["authorized"] is True
    assert written.lines[0]["audited"] is True
    assert written.lines[0]["reason"] == "NO_ROLE"


@pytest.mark.parametrize(
    ("when", "kinds"),
    [
        ("none", []),
        ("on-deny", ["refused", "audited"]),
        ("on-allow", ["allowed", "audited"]),
        ("both", ["refused", "allowed", "audited"]),
    ],
)
def test_audited_calls_are_written_by_every_word_but_none(
    caplog: pytest.LogCaptureFixture, when: str, kinds: list[str]
) -> None:
    written = Written(caplog, when)
    written.write(judged())
    written.write(judged(refusal=None))
    written.write(judged(refusal=None, audited=NO_ROLE))
    found = [
        "audited" if line["audited"] else "allowed" if line["authorized"] else "refused"
        for line in written.lines
    ]
    assert found == kinds


def test_a_flood_of_one_principals_refusals_is_cut_to_a_burst(written: Written) -> None:
    written.write(judged(), times=1000)
    assert len(written.lines) == BURST


def test_after_the_burst_it_is_one_line_a_second_with_the_number_left_out(
    written: Written,
) -> None:
    written.write(judged(), times=BURST + 30)
    written.clock.now += 1
    written.write(judged(), times=10)
    assert written.lines[-1]["suppressed"] == 30
    assert len(written.lines) == BURST + 1
    written.clock.now += 1
    written.write(judged())
    assert written.lines[-1]["suppressed"] == 9


def test_a_line_that_follows_none_that_was_left_out_names_no_number(written: Written) -> None:
    written.write(judged(), times=3)
    assert all("suppressed" not in line for line in written.lines)


def test_what_no_later_line_tells_of_stands_in_a_summary_after_a_second(written: Written) -> None:
    written.write(judged(), times=BURST + 7)
    written.log.summarize(NOW)
    assert len(written.lines) == BURST
    written.clock.now += 1
    written.log.summarize(NOW)
    assert written.lines[-1] == {
        "timestamp": "2026-11-02T12:00:00.000+00:00",
        "policy_name": "policy.toml",
        "suppressed": 7,
        "principals": {"spiffe://shop.internal/stranger": 7},
    }
    assert written.levels[-1] == "WARNING"
    written.clock.now += 1
    written.log.summarize(NOW)
    assert len(written.lines) == BURST + 1


def test_the_last_summary_waits_for_no_second(written: Written) -> None:
    written.write(judged(), times=BURST + 1)
    written.log.summarize(NOW, at_once=True)
    assert written.lines[-1]["suppressed"] == 1


def test_without_anything_left_out_there_is_no_summary(written: Written) -> None:
    written.write(judged(), times=BURST)
    written.clock.now += 5
    written.log.summarize(NOW, at_once=True)
    assert len(written.lines) == BURST


def test_one_principals_flood_takes_no_line_from_another(written: Written) -> None:
    written.write(judged("spiffe://shop.internal/loud"), times=1000)
    written.write(judged("spiffe://shop.internal/quiet"))
    written.write(judged(""))
    assert [line["principal"] for line in written.lines[BURST:]] == [
        "spiffe://shop.internal/quiet",
        "",
    ]


def test_a_flood_of_audited_calls_hides_no_refusal(written: Written) -> None:
    written.write(judged(refusal=None, audited=NO_ROLE), times=1000)
    assert len(written.lines) == BURST
    written.write(judged())
    assert written.lines[-1]["authorized"] is False


def test_allowed_calls_are_never_left_out(written: Written) -> None:
    written.write(judged(), times=1000)
    written.write(judged(refusal=None), times=500)
    assert len(written.lines) == BURST + 500


def test_many_principals_together_are_bounded_too_and_every_line_is_accounted_for(
    written: Written,
) -> None:
    names = [f"spiffe://shop.internal/w{number}" for number in range(3000)]
    for name in names:
        written.write(judged(name))
    assert len(written.lines) == BURST_OF_ALL
    written.clock.now += 1
    written.log.summarize(NOW)
    summary = written.lines[-1]
    assert summary["suppressed"] == len(names) - BURST_OF_ALL
    assert len(summary["principals"]) == 10
    assert len(written.lines) == BURST_OF_ALL + 1


def test_over_a_long_flood_lines_written_and_left_out_add_up(written: Written) -> None:
    total = 0
    for step in range(400):
        for name in ("a", "b", "c", "")[: 1 + step % 4]:
            written.write(judged(name), times=7)
            total += 7
        written.clock.now += 0.25
        written.log.summarize(NOW)
    written.log.summarize(NOW, at_once=True)
    decisions = sum("rpc_method" in line for line in written.lines)
    assert decisions + sum(line.get("suppressed", 0) for line in written.lines) == total
    # Four bursts, then a line a second of each, and a summary a second of all.
    assert len(written.lines) <= 4 * BURST + 100 * 4 + 100 + 1


def test_a_clock_that_stands_still_lets_no_more_through(written: Written) -> None:
    written.write(judged(), times=BURST)
    written.write(judged(), times=50)
    assert len(written.lines) == BURST


def test_a_long_method_path_is_cut_and_shown_to_be(written: Written) -> None:
    written.write(judged(method="/" + "x" * 10_000))
    assert len(written.lines[0]["rpc_method"]) == 515
    assert written.lines[0]["rpc_method"].endswith("x...")


def test_a_name_with_a_newline_or_another_script_forges_no_line(written: Written) -> None:
    written.write(judged('x"\n{"authorized": true}\u2028\u202e', method="/a.B/%s%d\n"))
    (record,) = written.records
    text = record.getMessage()
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text)["rpc_method"] == "/a.B/%s%d\n"
