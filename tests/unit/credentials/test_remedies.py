"""Remedies name a command that helps: an enrolled directory has no CA's folder beside it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

import pki
from pki.authority import Authority
from pki.authority.lifetimes import check_leaf_lifetime
from pki.clock import system_clock
from pki.errors import InputError, PkiError


def long_ago() -> datetime:
    return system_clock() - timedelta(days=2)


@pytest.fixture(params=[True, False], ids=["enrolled", "issued"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A credential that has ended, and the command that brings another."""
    with Authority.create(tmp_path / "ca", "shop.internal", clock=long_ago) as authority:
        authority.issue("orders").save(tmp_path / "orders")
    if request.param:
        (tmp_path / "orders" / ".handfast-ca.json").write_text("{}")
    verb = "agent" if request.param else "renew"
    return tmp_path / "orders", f"handfast {verb} {tmp_path / 'orders'}"


def test_an_ended_certificate(directory: tuple[Path, str]) -> None:
    path, command = directory
    with pytest.raises(PkiError) as caught:
        pki.Workload.from_directory(path)
    assert f"Bring it back: {command};" in caught.value.remedy


def test_missing_lists(directory: tuple[Path, str]) -> None:
    path, command = directory
    (path / "crl.pem").unlink()
    with pytest.raises(PkiError) as caught:
        pki.Workload.from_directory(path, clock=long_ago)
    assert f"Bring them ({command})" in caught.value.remedy


def test_a_key_that_others_may_read(directory: tuple[Path, str]) -> None:
    path, _ = directory
    (path / "key.pem").chmod(0o644)
    with pytest.raises(PkiError) as caught:
        pki.Workload.from_directory(path, clock=long_ago)
    assert f"chmod 600 {path / 'key.pem'};" in caught.value.remedy


def test_a_missing_credential_may_be_enrolled_or_issued(tmp_path: Path) -> None:
    with pytest.raises(PkiError) as caught:
        pki.Workload.from_directory(tmp_path)
    assert "handfast enroll TOKEN --out DIR" in caught.value.remedy
    assert "handfast issue NAME" in caught.value.remedy


def test_a_first_start_without_a_token_says_where_one_goes(tmp_path: Path) -> None:
    with pytest.raises(PkiError) as caught:
        pki.Workload.from_ca(tmp_path / "orders")
    assert "handfast enroll TOKEN --out DIR" in caught.value.remedy
    assert "pass token=TOKEN" in caught.value.remedy


def test_a_lifetime_that_is_too_long_names_both_ways_to_stay_fresh() -> None:
    with pytest.raises(InputError) as caught:
        check_leaf_lifetime(timedelta(hours=48))
    assert "who enrolled renews by itself" in caught.value.remedy
