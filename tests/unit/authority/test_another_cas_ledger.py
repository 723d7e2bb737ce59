"""A ledger elsewhere that is another CA's."""

from pathlib import Path

import pytest

from pki.authority import Authority
from pki.errors import StateError


def test_the_ledger_of_another_ca_is_refused_before_anything_is_published(tmp_path: Path) -> None:
    for name in ("one", "two"):
        ledger = tmp_path / name / "ledger" / "ledger.db"
        Authority.create(tmp_path / name / "ca", "shop.internal", ledger=ledger).close()
    home, own = tmp_path / "one" / "ca", tmp_path / "one" / "ledger" / "ledger.db"
    before = (home / "bundle.pem").read_bytes()
    with pytest.raises(StateError, match="belongs to another CA"):
        Authority.open(home, ledger=tmp_path / "two" / "ledger" / "ledger.db")
    assert (home / "bundle.pem").read_bytes() == before
    with Authority.open(home, ledger=own) as authority:
        authority.issue("orders")
