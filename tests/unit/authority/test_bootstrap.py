"""Making a CA: never over the remains of another, and completed after an interruption."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.context import AuthorityContext
from pki.authority.directory import AuthorityDirectory
from pki.errors import PkiError, StateError
from tests.support import SHOP, Clock, create_authority, make_authority

ROOT = Path(__file__).parents[3]


def files_of(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with make_authority(tmp_path) as ca:
        ca.issue("orders")
    return tmp_path / "ca"


FILES = ["root.key.pem", "issuing", "bundle.pem", "crl.pem", "ledger.mark"]


@pytest.mark.sqlite
@pytest.mark.parametrize("left", FILES)
def test_a_ca_is_never_made_over_what_is_left_of_one(home: Path, left: str) -> None:
    for path in home.iterdir():
        if not path.name.startswith(left):
            path.unlink()
    before = files_of(home)
    for opening in (
        lambda: Authority.create(home, SHOP, clock=Clock()),
        lambda: Authority.open(home, clock=Clock()),
        lambda: Authority.recover(home, clock=Clock()),
    ):
        with pytest.raises(StateError, match="lost its ledger") as caught:
            opening()
        assert "Bring the ledger back" in caught.value.remedy
        assert files_of(home) == before


@pytest.mark.sqlite
@pytest.mark.parametrize("empty", ["absent", "no bytes", "no tables filled"])
def test_a_lost_or_emptied_ledger_never_costs_a_key(home: Path, empty: str) -> None:
    for path in home.glob("ledger.db*"):
        path.unlink()
    if empty == "no bytes":
        (home / "ledger.db").touch(0o600)
    elif empty == "no tables filled":
        AuthorityDirectory(home).home.create().close()
    keys = {name: data for name, data in files_of(home).items() if "key" in name or "pem" in name}
    with pytest.raises(StateError, match=r"there is a CA|has lost its ledger"):
        Authority.create(home, SHOP, clock=Clock())
    with pytest.raises(PkiError):
        Authority.open(home, clock=Clock())
    after = files_of(home)
    assert {name: after[name] for name in keys} == keys


def test_a_dangling_link_in_the_ledgers_place_is_not_nothing(home: Path) -> None:
    for path in home.glob("ledger.db*"):
        path.unlink()
    (home / "ledger.db").symlink_to(home / "elsewhere.db")
    before = files_of(home)
    with pytest.raises(StateError):
        Authority.create(home, SHOP, clock=Clock())
    assert files_of(home) == before


def test_a_key_that_lies_there_is_taken_up_and_never_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    # Killed between the root's key and the commit that makes the CA.
    with monkeypatch.context() as patch:
        patch.setattr("pki.authority.ledger.Transaction.put_settings", cut_off)
        with pytest.raises(KeyboardInterrupt):
            create_authority(tmp_path)
    key = (tmp_path / "ca" / "root.key.pem").read_bytes()
    with create_authority(tmp_path) as ca:
        ca.issue("orders")
    assert (tmp_path / "ca" / "root.key.pem").read_bytes() == key


def test_a_set_up_that_was_cut_off_before_its_issuing_ca_says_so_and_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AuthorityContext, "root_ca", cut_off)
        with pytest.raises(KeyboardInterrupt):
            create_authority(tmp_path)
    with pytest.raises(StateError, match="set-up was interrupted before") as caught:
        create_authority(tmp_path)
    assert "handfast ca rotate" in caught.value.remedy
    with Authority.open(tmp_path / "ca", clock=Clock()) as ca:
        with pytest.raises(StateError, match="set-up was interrupted") as caught:
            ca.issue("orders")
        assert "handfast ca rotate" in caught.value.remedy
        ca.prepare_issuer()
        with pytest.raises(StateError, match="one is prepared"):
            ca.issue("orders")
        ca.activate_issuer()
        ca.issue("orders")


def test_no_key_is_written_over_by_one_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with create_authority(tmp_path) as ca:
        monkeypatch.setattr(
            "pki.authority.rotation.issuing_keys.key_id_of", lambda _: "0123456789abcdef"
        )
        path = tmp_path / "ca" / "issuing-0123456789abcdef.key.pem"
        path.write_bytes(b"somebody's")
        with pytest.raises(StateError, match="can't be written"):
            ca.rotate()
        assert path.read_bytes() == b"somebody's"


@pytest.mark.sqlite
def test_a_ca_whose_folder_was_copied_whole_goes_on(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / "moved")
    with Authority.open(tmp_path / "moved", clock=Clock()) as ca:
        ca.issue("payments")


def remedies() -> list[str]:
    """Return the text of every remedy in the toolkit."""
    found = []
    for path in (ROOT / "pki").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "remedy":
                found.append(ast.unparse(node.value))
    return found


def test_no_remedy_advises_to_destroy_anything_of_a_ca() -> None:
    words = remedies()
    assert len(words) > 100
    destroying = re.compile(r"\b(remove|delete|erase|wipe|overwrite|rm|unlink)\b", re.IGNORECASE)
    assert [item for item in words if destroying.search(item)] == []
    assert "Start over" not in (ROOT / "certs" / "README.md").read_text()
