"""Two writers on one directory: one after the other, and the second finds it done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.errors import StateError
from pki.files import load_credential, locked, save_credential
from pki.files.lock import LOCK_NAME
from pki.keys import generate_key
from tests.command import MALLORY, write_request

HANDFAST = Path(sys.executable).with_name("handfast")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    with Authority.create(tmp_path / "ca", "shop.internal") as ca:
        ca.issue("orders").save(tmp_path / "orders")
    return tmp_path


def together(commands: list[list[str]], state: Path) -> list[tuple[int, str, str]]:
    """Run commands at the same time."""
    processes = [
        subprocess.Popen(
            [HANDFAST, *command, "--dir", str(state)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    ends = [process.communicate(timeout=110) for process in processes]
    return [
        (process.returncode, out, err) for process, (out, err) in zip(processes, ends, strict=True)
    ]


def held_off(state: Path, commands: list[list[str]]) -> list[tuple[int, str, str]]:
    """Start commands while the directory is held, so that all of them wait for it at once."""
    processes: list[tuple[int, str, str]] = []
    with locked(state / "orders"):
        worker = threading.Thread(target=lambda: processes.extend(together(commands, state)))
        worker.start()
        # Nothing needs this wait: it makes it likelier that they meet.
        worker.join(timeout=4)
    worker.join()
    return processes


def test_eight_forced_renewals_at_once_lose_no_key_and_cry_no_theft(state: Path) -> None:
    before = load_credential(state / "orders").credential.leaf
    ends = held_off(state, [["renew", str(state / "orders"), "--force", "--json"]] * 8)
    assert [code for code, _, _ in ends] == [0] * 8, [err for _, _, err in ends if err]
    answers = [json.loads(out) for _, out, _ in ends]
    after = load_credential(state / "orders").credential
    assert after.leaf != before
    with Authority.open(state / "ca") as ca:
        assert not [kind for _, kind, _ in ca.events()]
        assert len(ca.certificates()) == 1 + sum(answer["renewed"] for answer in answers)
    assert any(not answer["renewed"] and answer["already_renewed"] for answer in answers)
    assert f"{after.leaf.serial_number:x}" in {answer["serial"] for answer in answers}
    assert not (state / "orders" / "key.pem.next").exists()


def test_two_renewals_for_one_request_at_once_are_one(state: Path) -> None:
    with Authority.open(state / "ca") as ca:
        first = write_request(state / "first.csr", generate_key())
        ca.issue_request("web", first.read_bytes()).save(state / "web")
    again = str(write_request(state / "again.csr", generate_key()))
    renew = ["renew", str(state / "web"), "--force", "--csr", again, "--json"]
    with locked(state / "web"):
        ends: list[tuple[int, str, str]] = []
        worker = threading.Thread(target=lambda: ends.extend(together([renew, renew], state)))
        worker.start()
        # Long enough for both to wait for the directory, on a busy machine too.
        worker.join(timeout=10)
    worker.join()
    assert [code for code, _, _ in ends] == [0, 0], ends
    with Authority.open(state / "ca") as ca:
        assert len(ca.certificates()) == 3
        assert not ca.events()


def test_every_kind_of_writer_at_once_leaves_a_good_credential(state: Path) -> None:
    orders = str(state / "orders")
    with Authority.open(state / "ca") as ca:
        serial = f"{ca.issue('other').leaf.serial_number:x}"
    ends = together(
        [
            ["renew", orders, "--force"],
            ["issue", "orders"],
            ["crl", "--force"],
            ["revoke", serial],
            ["renew", orders],
            ["issue", "orders", "--key-type", "ecdsa-p384"],
        ],
        state,
    )
    assert [code for code, _, _ in ends] == [0] * 6, [err for _, _, err in ends if err]
    assert load_credential(state / "orders").credential
    newest = (state / "ca" / "crl.pem").read_bytes()
    with Authority.open(state / "ca") as ca:
        assert not ca.events()
        _, crls = ca.trust()
    # The last list reached the directory, whoever wrote last.
    assert (state / "orders" / "crl.pem").read_bytes() == newest
    assert any(int(serial, 16) in item.revoked for item in crls.crls.values())


def test_a_holder_that_is_killed_leaves_nothing_locked(state: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pki.files import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(state / "orders")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    holder.stdout.readline()
    waits: list[float] = []
    with (
        pytest.raises(StateError, match="another process has been writing"),
        locked(state / "orders", wait_seconds=0.1, sleep=waits.append),
    ):
        pass
    assert waits
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    holder.stdin.close()
    with locked(state / "orders", wait_seconds=0.1, sleep=waits.append):
        pass


def test_threads_hold_each_other_off_and_one_may_enter_again(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def enter(number: int) -> None:
        for _ in range(20):
            with locked(tmp_path), locked(tmp_path):
                inside.append(number)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(most) == 80


@pytest.mark.parametrize("kind", ["link", "link to nowhere", "hard link", "folder", "pipe"])
def test_a_planted_lock_is_refused_and_what_it_leads_to_stays(tmp_path: Path, kind: str) -> None:
    folder, elsewhere = tmp_path / "orders", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.write_bytes(b"keep me")
    lock = folder / LOCK_NAME
    match kind:
        case "link":
            lock.symlink_to(elsewhere)
        case "link to nowhere":
            lock.symlink_to(tmp_path / "made")
        case "hard link":
            os.link(elsewhere, lock)
        case "folder":
            lock.mkdir()
        case _:
            os.mkfifo(lock)
    mode = elsewhere.stat().st_mode
    with pytest.raises(StateError, match=r"\.handfast\.lock"), locked(folder):
        pass
    assert elsewhere.read_bytes() == b"keep me"
    assert elsewhere.stat().st_mode == mode
    assert not (tmp_path / "made").exists()


def test_a_stranger_s_lock_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make a stranger's file")
    (tmp_path / LOCK_NAME).touch(0o666)
    os.chown(tmp_path / LOCK_NAME, MALLORY, MALLORY)
    with pytest.raises(StateError, match="belongs to user 54321"), locked(tmp_path):
        pass


def test_a_lock_that_was_removed_and_made_anew_is_still_one(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / LOCK_NAME).unlink()
        (tmp_path / LOCK_NAME).touch(0o600)
    taken: list[bool] = []

    def meanwhile(_: float) -> None:
        # The holder goes away with its file, and the next one made another.
        taken.append(True)

    with locked(tmp_path, sleep=meanwhile):
        assert not taken


def test_a_library_s_save_waits_for_the_directory(state: Path) -> None:
    with Authority.open(state / "ca") as ca:
        issued = ca.issue("orders")
    done = threading.Event()

    def save() -> None:
        save_credential(issued.credential, state / "orders")
        done.set()

    with locked(state / "orders"):
        worker = threading.Thread(target=save)
        worker.start()
        assert not done.wait(0.3)
        assert load_credential(state / "orders").credential.leaf != issued.leaf
    worker.join()
    assert load_credential(state / "orders").credential.leaf == issued.leaf
