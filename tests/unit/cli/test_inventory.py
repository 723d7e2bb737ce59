"""``handfast list``, ``search`` and ``export``: the inventory for people and programs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.command import Capture, make_state, run_command, run_json


@pytest.fixture
def state(tmp_path: Path, capsys: Capture) -> Path:
    make_state(tmp_path / "certs")
    names = ("orders", "prod/orders", "payments")
    run_json(capsys, "issue", *names, "--dir", tmp_path / "certs")
    run_json(capsys, "revoke", "payments", "--dir", tmp_path / "certs")
    return tmp_path / "certs"


def listed(answer: dict[str, object]) -> list[str]:
    certificates = answer["certificates"]
    assert isinstance(certificates, list)
    return [item["spiffe_id"].removeprefix("spiffe://shop.internal/") for item in certificates]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], ["orders", "prod/orders", "payments"]),
        (["--owner", "orders"], ["orders"]),
        (["--owner", "spiffe://shop.internal/prod/orders"], ["prod/orders"]),
        (["--state", "revoked"], ["payments"]),
        (["--state", "good", "--state", "revoked"], ["orders", "prod/orders", "payments"]),
        (["--state", "expired"], []),
        (["--limit", "2"], ["prod/orders", "payments"]),
    ],
)
def test_the_list_shows_what_the_options_choose(
    capsys: Capture, state: Path, options: list[str], found: list[str]
) -> None:
    assert listed(run_json(capsys, "list", *options, "--dir", state)) == found


def test_options_that_mean_nothing_together_are_refused(capsys: Capture, state: Path) -> None:
    for options in (
        ["--issuers", "--owner", "orders"],
        ["--forecast", "1h", "--limit", "3"],
        ["--ca", "localhost:1", "--state", "good"],
        ["--state", "splendid"],
        ["--limit", "0"],
    ):
        assert run_command(capsys, "list", *options, "--dir", state)[0] == 2
    code, _, err = run_command(capsys, "list", "--issuer", "zz", "--dir", state)
    assert (code, "no issuing CA here" in err) == (1, True)
    code, _, err = run_command(capsys, "list", "--owner", "no name !", "--dir", state)
    assert (code, "SPIFFE ID" in err) == (1, True)


def test_a_search_shows_the_newest_and_says_whether_there_are_more(
    capsys: Capture, state: Path
) -> None:
    answer = run_json(capsys, "search", "orders", "--dir", state)
    assert (listed(answer), answer["more"]) == (["orders", "prod/orders"], False)
    answer = run_json(capsys, "search", "orders", "--limit", "1", "--dir", state)
    assert (listed(answer), answer["more"]) == (["prod/orders"], True)
    _, out, _ = run_command(capsys, "search", "orders", "--limit", "1", "--dir", state)
    assert "The newest 1 certificate" in out
    assert "(--limit shows more)" in out
    serial = answer["certificates"][0]["serial"]
    assert listed(run_json(capsys, "search", f"{serial[:12]}..", "--dir", state)) == ["prod/orders"]
    assert run_command(capsys, "search", "", "--dir", state)[0] == 2


def test_an_export_is_csv_with_a_heading_or_json_lines(capsys: Capture, state: Path) -> None:
    code, out, _ = run_command(capsys, "export", "--dir", state)
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["status"] for row in rows] == ["good", "good", "revoked"]
    assert rows[0]["names"] == "orders.shop.internal"
    assert rows[2]["reason"] == "unspecified"
    assert rows[0]["revoked_at"] == ""
    code, out, _ = run_command(capsys, "export", "--format", "json", "--dir", state)
    items = [json.loads(line) for line in out.splitlines()]
    assert [item["serial"] for item in items] == [row["serial"] for row in rows]
    assert items[0]["names"] == ["orders.shop.internal"]
    assert items[0]["revoked_at"] is None
    assert list(items[0]) == list(rows[0])


def test_a_limit_says_whether_there_are_more(capsys: Capture, state: Path) -> None:
    assert run_json(capsys, "list", "--limit", "2", "--dir", state)["more"] is True
    assert run_json(capsys, "list", "--limit", "3", "--dir", state)["more"] is False


def test_who_has_named_a_served_ca_is_told_that_it_is_not_asked(
    capsys: Capture, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFAST_CA", "localhost:1")
    for command in (["search", "orders"], ["export"]):
        code, _, err = run_command(capsys, *command, "--dir", state)
        assert (code, "HANDFAST_CA is not asked" in err) == (0, True)


def test_a_forecast_has_24_steps(capsys: Capture, state: Path) -> None:
    answer = run_json(capsys, "list", "--forecast", "2h", "--dir", state)
    assert len(answer["steps"]) == 24
    assert sum(step["renewals"] for step in answer["steps"]) == 2
    assert sum(step["expiries"] for step in answer["steps"]) == 2
    assert (answer["good"], answer["overdue"]) == (2, 0)
    _, out, _ = run_command(capsys, "list", "--forecast", "2h", "--dir", state)
    assert "2 good certificates" in out
    assert run_json(capsys, "list", "--forecast", "5s", "--dir", state)["code"] == 0
