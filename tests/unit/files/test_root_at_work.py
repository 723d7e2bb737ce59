"""Root writes in the folders of other users: owners are kept, and no link leads to root's files."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.cli.app import run
from pki.errors import StateError
from pki.files import access, load_credential, save_credential, writer, writer_lock
from pki.files.open_folder import opened_folder
from tests.command import (
    MALLORY,
    NOBODY,
    Capture,
    chown_all,
    files_of,
    make_state,
    run_as,
    run_command,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who is the one to be misled")
ORDERS = Path("certs/orders")
SERVICE, GROUP = 4711, 4712
MAIN = "from pki.cli.entry import main; main()"
FILES = ("key.pem", "chain.pem", "bundle.pem", "crl.pem")


@pytest.fixture(autouse=True)
def ca(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(shared_folder)
    make_state(Path("certs"), "orders")
    return shared_folder


@pytest.fixture
def home(ca: Path) -> Path:
    """The folder of a user who means ill."""
    folder = ca / "mallory"
    folder.mkdir()
    os.chown(folder, MALLORY, MALLORY)
    return folder


def owners(folder: Path, *names: str) -> set[tuple[int, int]]:
    found = [(folder / name).stat() for name in names or os.listdir(folder)]
    return {(item.st_uid, item.st_gid) for item in found}


def issued() -> int:
    with Authority.open("certs/ca", read_only=True) as authority:
        return len(authority.certificates())


# Owners


@pytest.mark.parametrize("folder_owner", [(0, 0), (SERVICE, SERVICE)])
def test_a_key_that_belongs_to_its_service_stays_so(
    folder_owner: tuple[int, int], capsys: Capture
) -> None:
    os.chown(ORDERS, *folder_owner)
    os.chown(ORDERS / "key.pem", SERVICE, GROUP)
    for _ in range(2):
        before = (ORDERS / "key.pem").read_bytes()
        assert run_command(capsys, "renew", ORDERS, "--force")[0] == 0
        assert (ORDERS / "key.pem").read_bytes() != before
        assert owners(ORDERS, "key.pem") == {(SERVICE, GROUP)}
        assert owners(ORDERS, "chain.pem", "bundle.pem", "crl.pem") == {(0, 0)}
    assert stat.S_IMODE((ORDERS / "key.pem").stat().st_mode) == 0o600


def test_what_root_has_renewed_the_service_itself_can_read_and_renew(ca: Path) -> None:
    chown_all(NOBODY, ca / "certs")
    assert run(["renew", str(ORDERS), "--force"]) == 0
    assert run(["crl", "--force"]) == 0
    assert run(["ca", "rotate"]) == 0
    for words in ("verify certs/orders --as server", "renew certs/orders --force", "issue web"):
        done = run_as(NOBODY, ca, *words.split())
        assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_that_root_makes_below_a_user_s_is_that_user_s(home: Path) -> None:
    assert run(["issue", "web", "--out", str(home / "deep" / "web")]) == 0
    assert owners(home, "deep", "deep/web") == {(MALLORY, MALLORY)}
    assert owners(home / "deep/web") == {(MALLORY, MALLORY)}


@pytest.mark.parametrize("is_member", [True, False])
def test_another_user_gives_new_files_the_folder_s_group_if_they_are_in_it(
    ca: Path, is_member: bool
) -> None:
    credential = load_credential(ORDERS).credential
    folder = ca / "theirs"
    folder.mkdir()
    os.chown(folder, SERVICE, GROUP)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([GROUP] if is_member else [])
            os.setgid(SERVICE)
            os.setuid(SERVICE)
            save_credential(credential, folder)
            save_credential(credential, folder)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert owners(folder, *FILES) == {(SERVICE, GROUP if is_member else SERVICE)}


def test_a_stranger_s_key_is_not_taken_where_others_may_put_files(capsys: Capture) -> None:
    ORDERS.chmod(0o1777)
    os.chown(ORDERS / "key.pem", MALLORY, MALLORY)
    before = files_of(ORDERS)
    code, _, err = run_command(capsys, "renew", ORDERS, "--force")
    assert code == 1
    assert "key.pem' belongs to user 54321" in err
    assert "chown" in err
    assert files_of(ORDERS) == before


@pytest.mark.parametrize("lock_is_root_s", [False, True])
def test_without_the_right_to_give_files_away_nothing_changes(lock_is_root_s: bool) -> None:
    setpriv = shutil.which("setpriv")
    assert setpriv is not None, "of util-linux, which every system with root has"
    chown_all(SERVICE, ORDERS)
    if lock_is_root_s:
        os.chown(ORDERS / ".handfast.lock", 0, 0)
    before = files_of(ORDERS)
    command = [sys.executable, "-c", MAIN, "renew", "certs/orders", "--force"]
    drop = [setpriv, "--bounding-set=-chown", "--inh-caps=-chown"]
    done = subprocess.run(
        [*drop, *command], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    assert "CAP_CHOWN" in done.stderr
    assert files_of(ORDERS) == before
    assert issued() == 1


def test_a_drawing_that_root_replaces_keeps_its_owner(home: Path) -> None:
    Path("policy.toml").write_text(
        'trust_domain = "shop.internal"\n[roles]\nweb = ["spiffe://shop.internal/web"]\n'
    )
    drawing = home / "policy.svg"
    for _ in range(2):
        assert run(["policy", "graph", "policy.toml", "--out", str(drawing)]) == 0
    assert owners(home) == {(MALLORY, MALLORY)}


# Links


def test_a_key_that_is_a_link_to_root_s_key_gets_no_certificate_for_it(
    home: Path, capsys: Capture
) -> None:
    folder = home / "mine"
    folder.mkdir()
    (folder / "key.pem").symlink_to(Path("certs/orders/key.pem").absolute())
    chown_all(MALLORY, folder)
    code, _, err = run_command(capsys, "renew", folder, "--force")
    assert code == 1
    assert "symbolic link" in err
    assert issued() == 1
    assert set(os.listdir(folder)) <= {"key.pem", ".handfast.lock"}
    # Nor does it name what is to be revoked.
    assert run_command(capsys, "revoke", folder)[0] == 1
    with Authority.open("certs/ca", read_only=True) as authority:
        assert authority.certificates()[0].revoked_at is None


def test_a_second_name_for_root_s_key_gets_no_certificate_for_it(
    home: Path, capsys: Capture
) -> None:
    folder = home / "mine"
    folder.mkdir()
    os.chown(folder, MALLORY, MALLORY)
    os.link("certs/orders/key.pem", folder / "key.pem")
    code, _, err = run_command(capsys, "renew", folder, "--force")
    assert code == 1
    assert "second name" in err
    assert issued() == 1
    assert set(os.listdir(folder)) <= {"key.pem", ".handfast.lock"}


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_place_of_a_file_is_refused_before_anything_changes(
    name: str, ca: Path, capsys: Capture
) -> None:
    chown_all(MALLORY, ORDERS)
    secret = ca / "secret"
    secret.write_bytes((ORDERS / name).read_bytes())
    secret.chmod(0o600)
    (ORDERS / name).unlink()
    (ORDERS / name).symlink_to(secret)
    os.chown(ORDERS / name, MALLORY, MALLORY, follow_symlinks=False)
    before, content = files_of(ORDERS), secret.read_bytes()
    code, _, err = run_command(capsys, "renew", ORDERS, "--force")
    assert code == 1
    assert name in err
    assert "symbolic link" in err
    assert files_of(ORDERS) == before
    assert (secret.read_bytes(), owners(secret.parent, "secret")) == (content, {(0, 0)})


@pytest.mark.parametrize("command", ["renew", "issue"])
def test_a_user_s_link_to_a_folder_of_root_is_not_followed(
    home: Path, capsys: Capture, command: str
) -> None:
    before = files_of(ORDERS)
    (home / "mine").symlink_to(ORDERS.absolute())
    os.chown(home / "mine", MALLORY, MALLORY, follow_symlinks=False)
    arguments = (
        ("renew", home / "mine", "--force")
        if command == "renew"
        else ("issue", "orders", "--out", home / "mine")
    )
    code, _, err = run_command(capsys, *arguments)
    assert code == 1
    assert "user 54321 can change" in err
    assert files_of(ORDERS) == before
    assert issued() == 1


def test_a_user_s_link_in_the_middle_of_a_path_is_not_followed(
    home: Path, ca: Path, capsys: Capture
) -> None:
    (home / "way").symlink_to(ca / "certs")
    os.chown(home / "way", MALLORY, MALLORY, follow_symlinks=False)
    code, _, err = run_command(capsys, "issue", "web", "--out", home / "way" / "web")
    assert code == 1
    assert "'way' is a link" in err
    assert not Path("certs/web").exists()
    assert issued() == 1


def test_crls_are_brought_through_no_link_of_a_user(home: Path, capsys: Capture) -> None:
    assert run(["issue", "payments", "--out", "elsewhere/payments"]) == 0
    shutil.move(home, "certs/mallory")
    (Path("certs/mallory") / "link").symlink_to(Path("elsewhere/payments").absolute())
    os.chown("certs/mallory/link", MALLORY, MALLORY, follow_symlinks=False)
    before = files_of(Path("elsewhere/payments"))
    code, out, err = run_command(capsys, "revoke", ORDERS)
    assert code == 5
    assert "Revoked" in out
    assert "root does not follow it" in err
    assert files_of(Path("elsewhere/payments")) == before
    assert not Path("elsewhere/payments/.handfast.lock").stat().st_uid


def test_root_s_own_links_and_a_user_s_links_to_their_own_are_followed(
    home: Path, ca: Path, capsys: Capture
) -> None:
    chown_all(MALLORY, ORDERS)
    shutil.move(ORDERS, home / "orders")
    (ca / "certs/orders").symlink_to(home / "orders")
    (home / "current").symlink_to("orders")
    os.chown(home / "current", MALLORY, MALLORY, follow_symlinks=False)
    for path in (ORDERS, home / "current"):
        assert run_command(capsys, "renew", path, "--force")[0] == 0
        assert owners(home / "orders") == {(MALLORY, MALLORY)}


# What changes between check and use


def test_a_folder_that_is_swapped_after_its_check_leads_nowhere_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["issue", "web", "--out", str(home / "web")]) == 0
    credential = load_credential(home / "web").credential
    real, target = access.check_replaceable, Path("certs/orders").absolute()
    before = files_of(target)

    def swap(*arguments: object, **more: object) -> None:
        real(*arguments, **more)  # type: ignore[arg-type]
        if not (home / "aside").exists():
            (home / "web").rename(home / "aside")
            (home / "web").symlink_to(target)
            os.chown(home / "web", MALLORY, MALLORY, follow_symlinks=False)

    monkeypatch.setattr("pki.files.writer.check_replaceable", swap)
    (home / "web" / "bundle.pem").unlink()
    save_credential(credential, home / "web")
    assert files_of(target) == before
    assert owners(target) == {(0, 0)}
    assert load_credential(home / "aside").credential.chain == credential.chain


def test_a_lock_that_holds_something_is_not_given_away(home: Path) -> None:
    log = home / ".handfast.lock"
    log.write_text("a secret of root's log")
    log.chmod(0o600)
    with pytest.raises(StateError, match="no empty regular file"), writer_lock(home):
        pass
    assert owners(home) == {(0, 0)}


def test_a_thread_keeps_the_folder_that_it_has_open(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with opened_folder(tmp_path / "a") as first:
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").mkdir()
        with opened_folder(tmp_path / "a") as second:
            assert second is first
    with opened_folder(tmp_path / "a") as third:
        assert third.status().st_ino == (tmp_path / "a").stat().st_ino


def test_an_empty_folder_of_root_is_not_removed_through_a_user_s_link(home: Path) -> None:
    Path("certs/empty").mkdir()
    (home / "way").symlink_to(Path("certs").absolute())
    os.chown(home / "way", MALLORY, MALLORY, follow_symlinks=False)
    assert not writer._remove_if_empty(home / "way" / "empty")
    assert Path("certs/empty").is_dir()
    (home / "own").mkdir()
    assert writer._remove_if_empty(home / "own")
