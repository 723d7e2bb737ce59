"""Root works with another user's CA: no link of that user leads root to its own CA."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pki.authority import Authority
from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger.databases.failed_sync import NOTE
from pki.cli.app import run
from pki.errors import StateError
from pki.x509 import CrlSet
from tests.command import MALLORY, Capture, chown_all, files_of, run_as, run_command

pytestmark = pytest.mark.sqlite

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who is the one to be misled")
COMMANDS = (
    "revoke zed",
    "crl --force",
    "issue web",
    "ca rotate",
    "ca recover",
    "list",
    "ca status",
)
FILES = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.mark", "root.key.pem")


@pytest.fixture
def vault(shared_folder: Path) -> Path:
    """The state folder of root, with a CA, its write-ahead log, and a credential."""
    folder = shared_folder / "vault"
    made = ["--dir", str(folder)]
    assert run(["ca", "init", "--trust-domain", "shop.internal", *made]) == 0
    assert run(["issue", "zed", *made]) == 0
    (folder / "ca" / "ledger.db-wal").touch()
    (folder / "ca" / "ledger.db-shm").touch()
    return folder


@pytest.fixture
def mine(shared_folder: Path, vault: Path) -> Path:
    """The state folder of a user who means ill, with a CA of the same names."""
    folder = shared_folder / "mallory" / "certs"
    folder.parent.mkdir()
    shutil.copytree(vault, folder)
    chown_all(MALLORY, folder.parent)
    return folder


def link(path: Path, target: Path | str) -> None:
    """Put a link of that user in the place of a file or folder."""
    if path.is_dir():
        path.rename(path.with_name("aside"))
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)
    os.chown(path, MALLORY, MALLORY, follow_symlinks=False)


def issuing_key(folder: Path) -> str:
    return next(path.name for path in (folder / "ca").glob("issuing-*.key.pem"))


@as_root
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("is_relative", [False, True])
def test_a_user_s_link_in_place_of_the_ca_s_folder_is_refused_before_anything_changes(
    vault: Path, mine: Path, capsys: Capture, command: str, is_relative: bool
) -> None:
    link(mine / "ca", "../../vault/ca" if is_relative else vault / "ca")
    before = files_of(vault / "ca")
    code, _, err = run_command(capsys, *command.split(), "--dir", mine)
    assert code == 1
    assert "'ca' is a link that user 54321 can change" in err
    assert files_of(vault / "ca") == before


@as_root
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.mark"])
def test_a_user_s_link_in_place_of_a_file_of_the_ledger_is_refused_before_anything_changes(
    vault: Path, mine: Path, capsys: Capture, command: str, name: str
) -> None:
    link(mine / "ca" / name, vault / "ca" / name)
    before, theirs = files_of(vault / "ca"), files_of(mine / "ca")
    code, _, err = run_command(capsys, *command.split(), "--dir", mine)
    assert code == 1
    assert f"{name}' can't be checked" in err
    assert "is a link that user 54321 can change" in err
    assert (files_of(vault / "ca"), files_of(mine / "ca")) == (before, theirs)


@as_root
@pytest.mark.parametrize("kind", ["link", "second name"])
def test_root_signs_nothing_with_a_key_that_a_user_s_entry_leads_to(
    vault: Path, mine: Path, capsys: Capture, kind: str
) -> None:
    name = issuing_key(vault)
    (mine / "ca" / name).unlink()
    if kind == "link":
        link(mine / "ca" / name, vault / "ca" / name)
    else:
        os.link(vault / "ca" / name, mine / "ca" / name)
    before = (mine / "ca/crl.pem").read_bytes()
    code, _, err = run_command(capsys, "crl", "--force", "--dir", mine)
    assert code == 1
    assert "can't be read" in err
    assert kind in err
    assert (mine / "ca/crl.pem").read_bytes() == before


@as_root
def test_root_makes_no_ca_behind_a_user_s_link(vault: Path, mine: Path, capsys: Capture) -> None:
    (vault / "empty").mkdir()
    link(mine / "ca", vault / "empty")
    code, _, err = run_command(capsys, "ca", "init", "--trust-domain", "b.internal", "--dir", mine)
    assert code == 1
    assert "is a link that user 54321 can change" in err
    assert not os.listdir(vault / "empty")


@as_root
def test_root_reads_no_list_behind_a_user_s_link(vault: Path, mine: Path) -> None:
    link(mine / "ca/crl.pem", vault / "ca/crl.pem")
    directory = AuthorityDirectory(vault / "ca")
    assert directory.read_published(unless=CrlSet.none()) is not None
    directory = AuthorityDirectory(mine / "ca")
    assert directory.read_published(unless=CrlSet.none()) is None


@as_root
@pytest.mark.parametrize("name", ["ca", "ca/ledger.db"])
def test_what_is_swapped_while_sqlite_opens_it_is_refused_before_anything_changes(
    vault: Path, mine: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    connect, aside = sqlite3.connect, mine / "own"

    def swap(*arguments: Any, **more: Any) -> sqlite3.Connection:
        (mine / name).rename(aside)
        (mine / name).symlink_to(vault / name)
        try:
            opened: sqlite3.Connection = connect(*arguments, **more)
        finally:
            (mine / name).unlink()
            aside.rename(mine / name)
        return opened

    monkeypatch.setattr("sqlite3.dbapi2.connect", swap)
    before = files_of(vault / "ca")
    with pytest.raises(StateError, match="was replaced while it was opened"):
        Authority.open(mine / "ca", read_only=True)
    assert files_of(vault / "ca") == before


@as_root
def test_root_works_with_a_user_s_own_ca_and_their_links_to_their_own(
    mine: Path, capsys: Capture
) -> None:
    (mine / "ca").rename(mine / "elsewhere")
    link(mine / "ca", "elsewhere")
    (mine / "elsewhere/ledger.db").rename(mine / "elsewhere/really.db")
    link(mine / "elsewhere/ledger.db", "really.db")
    for command in ("issue web", "revoke zed", "crl --force", "ca rotate"):
        assert run_command(capsys, *command.split(), "--dir", mine)[0] == 0, command


@as_root
def test_root_s_own_links_to_the_ca_its_ledger_and_its_keys_are_followed(
    vault: Path, capsys: Capture
) -> None:
    disk = vault.parent / "disk"
    (vault / "ca").rename(disk)
    (vault / "ca").symlink_to(disk)
    for name in ("ledger.db", issuing_key(vault)):
        (disk / name).rename(vault.parent / name)
        (disk / name).symlink_to(vault.parent / name)
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (disk / name).unlink()
    for command in ("issue web", "revoke zed", "crl --force"):
        assert run_command(capsys, *command.split(), "--dir", vault)[0] == 0, command


@as_root
def test_another_user_s_own_links_are_followed_as_the_system_does(mine: Path) -> None:
    home = mine.parent
    (mine / "ca").rename(home / "disk")
    link(mine / "ca", home / "disk")
    name = issuing_key(mine)
    (home / "disk" / name).rename(home / name)
    link(home / "disk" / name, home / name)
    for command in ("issue web", "revoke zed", "crl --force"):
        done = run_as(MALLORY, home, *command.split())
        assert (done.returncode, done.stderr) == (0, ""), command


@as_root
def test_a_ledger_that_root_copies_after_a_failed_sync_stays_its_users(
    mine: Path, vault: Path
) -> None:
    before, copied = files_of(vault), mine / "ca" / "ledger.db"
    inode = copied.stat().st_ino
    link(mine / "ca" / ".ledger.copy", vault / "ca" / "ledger.db")
    (mine / "ca" / NOTE).touch(0o600)
    chown_all(MALLORY, mine / "ca")
    assert run(["issue", "web", "--dir", str(mine)]) == 0
    status = copied.stat()
    assert status.st_ino != inode
    assert (status.st_uid, status.st_gid) == (MALLORY, MALLORY)
    assert files_of(vault) == before
    again = run_as(MALLORY, mine.parent, "issue", "api", "--dir", str(mine))
    assert again.returncode == 0, again.stderr
