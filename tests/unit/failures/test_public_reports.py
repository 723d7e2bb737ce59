"""What ``explain`` answers to error texts that people reported in public, against the right answer."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from pki.failures import FAILURES, recognise

REPORTS: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("public_reports.toml").read_text(encoding="utf-8")
)["report"]


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report["source"][19:])
def test_a_text_of_a_public_report_gets_the_right_answer(report: dict[str, Any]) -> None:
    matches = recognise(report["text"])
    slugs = [match.failure.slug for match in matches]
    assert slugs, "not recognised"
    assert set(report["right"]) <= set(slugs)
    assert slugs[0] in report["right"]
    assert not set(report.get("never", ())) & set(slugs)
    assert all(match.sure for match in matches) == report["sure"], slugs


def test_the_table_names_each_source_and_only_failures_that_there_are() -> None:
    assert len({report["source"] for report in REPORTS}) >= 50
    for report in REPORTS:
        assert report["source"].startswith("https://")
        assert {*report["right"], *report.get("never", ())} <= set(FAILURES), report
        assert not report["sure"] or len(report["right"]) == 1, report
