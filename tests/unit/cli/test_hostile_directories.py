"""Whoever owns one credential directory holds up no command, and leads root to no other file."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.cli.app import run
from pki.cli.state import busy_folders, credential_folders, trust_distribution
from pki.cli.state.busy_folders import work_through
from pki.cli.state.credential_folders import FailedFolders
from pki.errors import StateError
from pki.files import atomic, load_credential
from pki.files.lock import WAIT_SECONDS, BusyFolderError
from pki.x509 import CrlSet
from tests.command import MALLORY, Capture, chown_all, make_state, run_command, run_json

MINE = Path("certs/mallory")
# Found before and after mallory's folder, and nested as deep as what lies in it.
OTHERS = ("bob", "team/bob", "zed")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who is the one to be misled")


@pytest.fixture(autouse=True)
def state(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    fixture = "shared_folder" if os.geteuid() == 0 else "tmp_path"
    folder: Path = request.getfixturevalue(fixture)
    monkeypatch.chdir(folder)
    make_state(Path("certs"), "mallory", *OTHERS)
    yield Path("certs")
    # Python's own removal can't remove a thousand levels.
    subprocess.run(["rm", "-rf", str(folder / MINE)], check=True)


def make_levels(name: str, number: int) -> None:
    here = os.open(MINE, os.O_RDONLY)
    for _ in range(number):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def too_long() -> None:
    make_levels("d" * 240, 25)


def too_deep() -> None:
    make_levels("d", 1100)


def too_many_folders() -> None:
    for number in range(30):
        (MINE / f"a{number}").mkdir()


def too_many_files() -> None:
    for number in range(200):
        (MINE / f"a{number}").touch()


@pytest.fixture(params=[too_long, too_deep, too_many_folders, too_many_files])
def hostile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    make: Callable[[], None] = request.param
    if make is too_many_folders:
        monkeypatch.setattr(credential_folders, "MOST_FOLDERS", 20)
    if make is too_many_files:
        monkeypatch.setattr(credential_folders, "MOST_ENTRIES", 100)
    make()
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", str(MALLORY), str(MINE)], check=True)


def revoked_in(folder: Path) -> set[int]:
    crls = CrlSet.read((folder / "crl.pem").read_bytes())
    return {serial for item in crls.crls.values() for serial in item.revoked}


def serial_of(name: str) -> int:
    return load_credential(Path("certs", name)).credential.leaf.serial_number


def copies(number: int) -> list[Path]:
    """Put copies of mallory's credential below it."""
    made = [MINE / f"c{item}" for item in range(number)]
    for path in made:
        path.mkdir()
        for name in ("key.pem", "chain.pem", "bundle.pem", "crl.pem"):
            shutil.copy2(MINE / name, path / name)
    return made


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize(
    "command",
    [["revoke", "bob"], ["crl", "--force"], ["ca", "rotate"], ["renew", "--all", "certs"]],
    ids=lambda words: words[0],
)
def test_a_directory_that_cannot_be_walked_is_one_failure(
    command: list[str], capsys: Capture
) -> None:
    serial = serial_of("bob")
    found = run_json(capsys, *command)
    assert found["code"] == 5
    assert [Path(item["directory"]).parts[1] for item in found["failed"]] == ["mallory"]
    assert "left out" in found["failed"][0]["error"]
    renewed = [item["directory"] for item in found.get("directories", ())]
    reached = found.get("updated", renewed)
    assert {f"certs/{name}" for name in (*OTHERS, "mallory")} <= set(reached)
    if command[0] == "revoke":
        for name in (*OTHERS, "mallory"):
            assert serial in revoked_in(Path("certs", name))


@pytest.mark.usefixtures("hostile")
def test_nothing_in_a_directory_stops_the_others_from_getting_certificates(
    capsys: Capture,
) -> None:
    assert run_command(capsys, "issue", "web")[0] == 0
    assert run_command(capsys, "renew", "certs/bob", "--force")[0] == 0


def test_folders_take_turns(state: Path) -> None:
    copies(5)
    failed: FailedFolders = []
    found = [
        str(path.relative_to(state))
        for path in credential_folders.credential_folders(state, state / "ca", failed)
    ]
    assert found[:6] == ["bob", "mallory", "team", "zed", "mallory/c0", "team/bob"]
    assert sorted(found[6:]) == [f"mallory/c{number}" for number in range(1, 5)]
    assert not failed


def test_a_link_to_a_credential_does_not_take_its_place(capsys: Capture) -> None:
    (MINE / "a").symlink_to(Path("certs/team/bob").absolute())
    if os.geteuid() == 0:
        chown_all(MALLORY, MINE)
    found = run_json(capsys, "crl", "--force")
    assert (found["code"], found["failed"]) == (0, [])
    assert sorted(found["updated"]) == ["certs/bob", "certs/mallory", "certs/team/bob", "certs/zed"]


def test_a_link_in_the_state_folder_is_the_directory_s_own_name(capsys: Capture) -> None:
    Path("certs/a").symlink_to("team/bob")
    Path("certs/b").symlink_to("team/bob")
    found = run_json(capsys, "crl", "--force")
    assert sorted(found["updated"]) == ["certs/a", "certs/bob", "certs/mallory", "certs/zed"]


def test_failures_without_number_are_not_all_printed(capsys: Capture) -> None:
    for path in copies(25):
        (path / "tls.key").touch()
    code, _, err = run_command(capsys, "crl", "--force")
    assert code == 5
    assert "certs/mallory/c0" in err
    assert err.count("several layouts") == 20
    assert "and 5 more" in err


def test_a_revocation_is_told_whatever_stops_its_lists(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pki.cli.revoke.distribute", fail)
    code, out, err = run_command(capsys, "revoke", "bob")
    assert code == 5
    assert f"Revoked {serial_of('bob'):x}" in out
    assert "Input/output error" in err


# Lists


def put_back_the_ca(change: Callable[[], object]) -> None:
    """Change something, and then restore the CA as it was before."""
    shutil.copytree("certs/ca", "backup")
    change()
    shutil.rmtree("certs/ca")
    shutil.move("backup", "certs/ca")


def is_revoked(name: str) -> bool:
    with Authority.open("certs/ca", read_only=True) as authority:
        record = authority.certificate(serial_of(name))
    assert record is not None
    return record.revoked_at is not None


def test_huge_lists_are_read_within_one_limit_and_hide_no_other_list(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, sizes = 1_000_000, []
    real = atomic.read_file_in

    def read(*arguments: object, **more: object) -> tuple[bytes, os.stat_result]:
        data, status = real(*arguments, **more)  # type: ignore[arg-type]
        sizes.append(len(data))
        return data, status

    put_back_the_ca(lambda: run(["revoke", "zed"]))
    for number, folder in enumerate(copies(20)):
        with (folder / "crl.pem").open("wb") as file:
            file.write(bytes([number]))
            file.truncate(limit // 2 - 10)
    for folder in (MINE, Path("certs/bob"), Path("certs/team/bob")):
        (folder / "crl.pem").unlink()
    monkeypatch.setattr(trust_distribution, "MAX_CRLS_BYTES", limit)
    monkeypatch.setattr(trust_distribution, "read_file_in", read)
    assert run_command(capsys, "issue", "web")[0] == 0
    assert len([size for size in sizes if size > limit // 4]) == 2
    assert is_revoked("zed")


@AS_ROOT
def test_root_reads_no_list_through_a_link_of_another_user(capsys: Capture) -> None:
    def revoke() -> None:
        assert run(["revoke", "zed"]) == 0
        shutil.copy("certs/ca/crl.pem", "secret")
        Path("secret").chmod(0o600)

    before = {path: path.read_bytes() for path in Path("certs").rglob("crl.pem")}
    put_back_the_ca(revoke)
    for path, data in before.items():
        path.write_bytes(data)
    # The list of its own folder, and one beside a planted key.
    (MINE / "q").mkdir()
    (MINE / "q/tls.key").touch()
    for link in (MINE / "crl.pem", MINE / "q/ca.crl", MINE / "q/crl.pem"):
        link.unlink(missing_ok=True)
        link.symlink_to(Path("secret").absolute())
    chown_all(MALLORY, MINE)
    assert run_command(capsys, "issue", "web")[0] == 0
    assert not is_revoked("zed")
    assert run_command(capsys, "crl", "--force")[0] == 5
    assert not is_revoked("zed")
    # Its own link to its own file is followed.
    shutil.copy("secret", MINE / "own")
    (MINE / "q/ca.crl").unlink()
    (MINE / "q/ca.crl").symlink_to("../own")
    chown_all(MALLORY, MINE)
    assert run_command(capsys, "issue", "web2")[0] == 0
    assert is_revoked("zed")


# Locks


@pytest.mark.parametrize(
    "command",
    [["revoke", "bob"], ["renew", "--all", "certs", "--force"]],
    ids=lambda words: words[0],
)
def test_planted_locks_cost_one_time_limit_for_all_of_them(
    command: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    for path in copies(3):
        file = (path / ".handfast.lock").open("w")
        (path / ".handfast.lock").chmod(0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        held.append(file)
    if os.geteuid() == 0:
        chown_all(MALLORY, MINE)
    monkeypatch.setattr(busy_folders, "WAIT_SECONDS", 0.3)
    begin = time.monotonic()
    found = run_json(capsys, *command)
    assert time.monotonic() - begin < WAIT_SECONDS
    assert found["code"] == 5
    assert [item["directory"] for item in found["failed"]] == [
        f"certs/mallory/c{number}" for number in range(3)
    ]
    assert all("another process has been writing" in item["error"] for item in found["failed"])
    for file in held:
        file.close()
    assert run_command(capsys, "crl", "--force")[0] == 0


class Clock:
    """A clock that goes on while it is slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.at_sleep: list[list[str]] = []
        self.done: list[str] = []

    def sleep(self, seconds: float) -> None:
        self.at_sleep.append(list(self.done))
        self.now += seconds


def test_the_others_are_done_before_anything_waits_and_the_busy_ones_take_turns() -> None:
    clock, failed = Clock(), FailedFolders()
    free_at = {"busy": 1e9, "soon": 1.0, "later": 20.0}

    def work(path: Path) -> None:
        if clock.now < free_at.get(path.name, 0):
            raise BusyFolderError(path, 0)
        if path.name == "broken":
            raise StateError("it is broken")
        clock.done.append(path.name)

    names = ("busy", "a", "broken", "later", "soon", "z")
    folders = (Path(name) for name in names)
    work_through(folders, work, failed, clock=lambda: clock.now, sleep=clock.sleep)
    assert clock.at_sleep[0] == ["a", "z"]
    assert clock.done == ["a", "z", "soon", "later"]
    assert WAIT_SECONDS <= clock.now < WAIT_SECONDS + 1
    assert [str(path) for path, _ in failed] == ["broken", "busy"]
    assert f"for {WAIT_SECONDS:g} seconds" in failed[1][1].message


def test_a_lock_elsewhere_is_no_reason_to_try_a_folder_again() -> None:
    clock, failed = Clock(), FailedFolders()

    def work(_: Path) -> None:
        raise BusyFolderError(Path("certs/ca"), 5)

    work_through([Path("a")], work, failed, clock=lambda: clock.now, sleep=clock.sleep)
    assert not clock.at_sleep
    assert "certs/ca" in failed[0][1].message


def test_a_slow_attempt_is_not_made_for_every_busy_folder_when_the_time_is_over() -> None:
    clock, failed = Clock(), FailedFolders()
    tried = []

    def work(path: Path) -> None:
        clock.now += 20
        tried.append(path.name)
        raise BusyFolderError(path, 0)

    folders = [Path("a"), Path("b"), Path("c")]
    work_through(folders, work, failed, clock=lambda: clock.now, sleep=clock.sleep)
    assert tried == ["a", "b", "c", "a", "b"]
    assert [path for path, _ in failed] == folders
