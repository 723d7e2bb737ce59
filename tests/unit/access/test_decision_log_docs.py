"""What docs/decision-log.md shows is what is written."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from pki.access.call_verdict import CallVerdict
from pki.access.decision_log import DecisionLog, LogWhen
from pki.access.rate_limiter import (
    BURST,
    BURST_OF_ALL,
    PER_SECOND,
    PER_SECOND_OF_ALL,
    RateLimiter,
)
from pki.access.refusal import NO_CERTIFICATE, Refusal, client_refusal, decision_refusal
from pki.authz import Decision, read_policy
from pki.x509 import Fault

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "decision-log.md").read_text(encoding="utf-8")
POLICY = (DOCS / "policy.md").read_text(encoding="utf-8").partition("```toml\n")[2]
EXAMPLE = POLICY.partition("```")[0]
SHOWN = re.findall(r"```json\n(.*)\n```", PAGE)
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC).timestamp()
ISSUER = "CN=handfast issuing CA,O=shop.internal"


def judged(
    name: str, role: str, method: str, serial: str, *, audit: bool = False, why: str = ""
) -> CallVerdict:
    """Judge a call as a server does; ``why`` says what is wrong with the certificate."""
    policy = read_policy((('enforce = "audit"\n' if audit else "") + EXAMPLE).encode())
    decision: Decision | None = policy.decide_for_roles((role,), method)
    who = f"spiffe://shop.internal/{name}"
    against: Refusal | None = None
    if why:
        against, decision = client_refusal(Fault.REVOKED), None
    elif decision is not None and not decision.allowed:
        against = decision_refusal(decision.reason, who=who, what=method)
    refusal, audited = (None, against) if audit else (against, None)
    return CallVerdict(method, None, refusal, decision, who, serial, ISSUER, why, audited)


def gateway(why: str = "") -> CallVerdict:
    return judged("gateway", "storefront", "/shop.v1.Orders/GetOrder", "5e1a", why=why)


def auditor(*, audit: bool = False) -> CallVerdict:
    return judged("audit", "auditor", "/shop.v1.Orders/PlaceOrder", "5e1b", audit=audit)


def line_of(caplog: pytest.LogCaptureFixture, write: Callable[[DecisionLog], None]) -> str:
    caplog.clear()
    caplog.set_level(logging.INFO, logger="handfast.decisions")
    # A clock that stands: on a slow machine the limit would let more lines through.
    write(DecisionLog(LogWhen.BOTH, "policy.toml", limiter=RateLimiter(lambda: 0.0)))
    return caplog.records[-1].getMessage()


def test_each_line_that_is_shown_is_the_one_that_is_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    judgements = [
        gateway(),
        auditor(),
        auditor(audit=True),
        gateway("certificate 5e1a was revoked"),
    ]
    written = [
        line_of(caplog, partial(DecisionLog.write, verdict=judgement, seconds=NOW))
        for judgement in judgements
    ]

    def flood(log: DecisionLog) -> None:
        for _ in range(BURST + 57):
            log.write(auditor(), NOW)
        log.summarize(NOW + 1, at_once=True)

    assert [*written, line_of(caplog, flood)] == SHOWN


def test_every_field_is_in_the_table_and_nothing_else_is() -> None:
    named = set(re.findall(r"^\| `([a-z_]+)` \|", PAGE.partition("## The fields")[2], re.MULTILINE))
    assert named == {key for line in SHOWN for key in json.loads(line)}


def test_a_call_without_a_certificate_that_can_be_read_is_written_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bare = CallVerdict("/a.B/C", None, NO_CERTIFICATE, None, "", "", "")
    line = json.loads(line_of(caplog, lambda log: log.write(bare, NOW)))
    assert (line["principal"], line["reason"]) == ("", "CERTIFICATE_INVALID")


def test_the_table_of_words_says_what_is_written() -> None:
    rows = re.findall(r"^\| `([a-z-]+)`[^|]*\| (yes|no) \| (yes|no) \| (yes|no) \|", PAGE, re.M)
    assert {row[0] for row in rows} == set(LogWhen)
    for word, *answers in rows:
        log = DecisionLog(LogWhen(word), "policy.toml")
        kinds = (auditor(), gateway(), auditor(audit=True))
        assert [("yes" if log.is_enabled_for(kind) else "no") for kind in kinds] == answers


def test_the_limit_is_the_one_that_is_named() -> None:
    assert f"each principal has {BURST} lines at once and then one a second" in PAGE
    assert PER_SECOND == 1
    assert f"together have {BURST_OF_ALL} at once and then {PER_SECOND_OF_ALL:.0f} a second" in PAGE
    assert RateLimiter().try_acquire("anybody", "refused") == 0


def test_the_logging_example_writes_bare_lines_to_a_file_of_their_own(tmp_path: Path) -> None:
    section = PAGE.partition("## Sending it somewhere")[2]
    example = section.partition("```python\n")[2].partition("```")[0]
    use = (
        "\nimport logging\n"
        "logging.getLogger('handfast.decisions').info('%s', '{\"authorized\": true}')\n"
        "logging.getLogger('handfast.decisions').warning('%s', '{\"authorized\": false}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", example + use],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == b""
    lines = (tmp_path / "decisions.jsonl").read_text().splitlines()
    assert [json.loads(line)["authorized"] for line in lines] == [True, False]
