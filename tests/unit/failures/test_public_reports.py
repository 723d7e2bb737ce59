"""What ``explain`` answers to error texts of public reports, against the right answer."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from pki.failures import FAILURES, recognise


def table(name: str) -> list[dict[str, Any]]:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    reports: list[dict[str, Any]] = tomllib.loads(text)["report"]
    return reports


PUBLIC = table("public_reports.toml")
RECORDED = table("recorded_texts.toml")


@pytest.mark.parametrize("report", [*PUBLIC, *RECORDED], ids=lambda report: report["source"])
def test_a_text_that_people_saw_gets_the_right_answer(report: dict[str, Any]) -> None:
    matches = recognise(report["text"])
    slugs = [match.failure.slug for match in matches]
    assert slugs, "not recognised"
    assert set(report["right"]) <= set(slugs)
    assert slugs[0] in report["right"]
    assert not set(report.get("never", ())) & set(slugs)
    assert all(match.sure for match in matches) == report["sure"], slugs


def test_the_tables_name_their_sources_and_only_failures_that_there_are() -> None:
    assert len({report["source"] for report in PUBLIC}) >= 50
    for report in PUBLIC:
        assert report["source"].startswith("https://")
    for report in [*PUBLIC, *RECORDED]:
        assert {*report["right"], *report.get("never", ())} <= set(FAILURES), report
        assert not report["sure"] or len(report["right"]) == 1, report
