"""``handfast ca prune`` as a command, on a CA that is some months old."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from tests.served_process import handfast
from tests.support import Clock


@pytest.fixture
def state(tmp_path: Path) -> Path:
    clock = Clock(datetime.now(UTC).replace(microsecond=0) - timedelta(days=90))
    with Authority.create(tmp_path / "ca", "shop.internal", clock=clock) as ca:
        for name in ("orders", "payments", "web"):
            ca.issue(name)
    return tmp_path


def confirm_time(state: Path, **before: float) -> None:
    """Let the CA decide something, some time ago."""
    clock = Clock(datetime.now(UTC).replace(microsecond=0) - timedelta(**before))
    with Authority.open(state / "ca", clock=clock) as ca:
        ca.issue("web")


def test_a_time_that_the_log_does_not_confirm_prunes_nothing_and_it_says_so(state: Path) -> None:
    confirm_time(state, minutes=50)
    done = handfast(state, "ca", "prune")
    assert "Pruned 0 certificates" in done.stdout
    assert "Only that time is believed" in done.stdout.replace("\n", " ")
    listed = json.loads(handfast(state, "list", "--all", "--json").stdout)
    assert len(listed["certificates"]) == 4


def test_a_new_ca_prunes_nothing(tmp_path: Path) -> None:
    with Authority.create(tmp_path / "ca", "shop.internal"):
        pass
    done = handfast(tmp_path, "ca", "prune", "--json")
    assert (done.returncode, json.loads(done.stdout)["ended_before"]) == (0, None)


def test_it_prunes_once_says_how_many_and_leaves_a_log_that_verifies(state: Path) -> None:
    first = handfast(state, "ca", "prune", "--keep", "100d", "--json")
    assert (first.returncode, json.loads(first.stdout)["certificates"]) == (0, 0)
    confirm_time(state, minutes=70)
    second = handfast(state, "ca", "prune", "--json")
    assert second.returncode == 0, second.stderr
    told = json.loads(second.stdout)
    # The newest one stays.
    assert (told["certificates"], told["lines"]) == (3, 3)
    assert "Pruned 0 certificates" in handfast(state, "ca", "prune").stdout
    listed = json.loads(handfast(state, "list", "--all", "--json").stdout)
    assert [item["spiffe_id"] for item in listed["certificates"]] == ["spiffe://shop.internal/web"]
    assert handfast(state, "audit", "verify").returncode == 0
    shown = json.loads(handfast(state, "audit", "show", "--action", "prune", "--json").stdout)
    assert [item["details"]["certificates"] for item in shown["entries"]] == [3]


@pytest.mark.parametrize("keep", ["23h", "0d", "-1d", "soon", ""])
def test_too_short_a_time_is_wrong_usage_and_prunes_nothing(state: Path, keep: str) -> None:
    done = handfast(state, "ca", "prune", "--keep", keep)
    assert done.returncode == 2
    serve = handfast(state, "ca", "serve", "--prune-after", keep)
    assert serve.returncode == 2
    with Authority.open(state / "ca", read_only=True) as ca:
        assert len(list(ca.audit_entries())) == 6
