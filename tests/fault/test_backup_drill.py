"""The drill: back up a CA that serves under load, lose it by kill -9, and go on from the backup."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pki.authority import Authority
from pki.files import load_credential
from pki.x509 import CrlSet
from tests.interop.shop import free_port
from tests.served_process import handfast, running


def told(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = handfast(folder, *arguments, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def serving(folder: Path, ports: tuple[int, int]) -> Any:
    listen = [f"127.0.0.1:{port}" for port in ports]
    return running(
        folder, "ca", "serve", "--listen", listen[0], "--enroll-listen", listen[1], name="serve"
    )


@contextmanager
def load(home: Path) -> Iterator[list[int]]:
    """Issue and revoke from this process, as fast as it goes, until the block ends."""
    ending, serials = threading.Event(), []

    def work() -> None:
        with Authority.open(home) as ca:
            while not ending.is_set():
                serial = ca.issue("load").leaf.serial_number
                serials.append(serial)
                if len(serials) % 3 == 0:
                    ca.revoke(serial)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield serials
    finally:
        ending.set()
        thread.join()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "lost"
    folder.mkdir()
    told(folder, "ca", "init", "--trust-domain", "shop.internal", "--permit-dns", "localhost")
    return folder


def test_a_backup_under_load_is_of_one_moment(state: Path, tmp_path: Path) -> None:
    ports = free_port(), free_port()
    with serving(state, ports) as served, load(state / "ca") as serials:
        served.line("Serving")
        for number in range(4):
            at_least = len(serials)
            file = tmp_path / f"{number}.backup"
            made = told(state, "ca", "backup", "--out", str(file))
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert made["keys_encrypted"] is False
            assert made["holds_root_key"] is True
            folder = tmp_path / f"restored{number}"
            told(folder, "ca", "restore", str(file), "--dir", str(folder))
            # Rows, log and lists agree, whatever was under way.
            verified = told(folder, "audit", "verify")
            assert verified["findings"] == []
            assert made["certificates"] >= at_least
            with Authority.open(folder / "ca", read_only=True) as ca:
                known = {int(item.serial, 16) for item in ca.certificates()}
            assert set(serials[:at_least]) <= known
    assert handfast(state, "audit", "verify").returncode == 0


def test_the_drill(state: Path, tmp_path: Path) -> None:
    ports, new = (free_port(), free_port()), tmp_path / "new"
    with serving(state, ports) as served:
        served.line("Serving")
        told(state, "registration", "create", "orders")
        token = told(state, "token", "create", "orders")["token"]
        agent = tmp_path / "agent"
        told(agent, "enroll", token, "--out", str(agent))
        told(state, "issue", "victim", "--out", str(tmp_path / "victim"))
        told(state, "ca", "backup", "--out", str(tmp_path / "ca.backup"))
        told(state, "revoke", str(tmp_path / "victim"), "--reason", "key-compromise")
        # What a receiver elsewhere holds of it.
        outside = tmp_path / "crl.pem"
        shutil.copy(state / "ca" / "crl.pem", outside)
        os.kill(served.process.pid, signal.SIGKILL)
        served.process.wait()
    shutil.rmtree(state)

    # Of a restore that was killed: the folder counts as empty, and is emptied.
    (new / ".ca.0123456789abcdef.tmp").mkdir(parents=True)
    done = handfast(new, "ca", "restore", str(tmp_path / "ca.backup"), "--dir", str(new))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in new.iterdir()] == ["ca"]
    assert "IT SIGNS NOTHING YET" in done.stdout
    again = handfast(new, "ca", "restore", str(tmp_path / "ca.backup"), "--dir", str(new))
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    with running(new, "ca", "serve", name="refused") as process:
        assert process.process.wait(60) == 1
        assert "signs nothing" in process.output
    assert told(new, "ca", "status")["waits_for_lists"] is True
    assert "SIGNS NOTHING" in handfast(new, "ca", "status").stdout
    assert handfast(new, "issue", "web").returncode == 1

    assert told(new, "ca", "recover", code=1)["resumption"]["signs_again"] is False
    told(new, "ca", "recover", "--crl", str(outside))
    assert told(new, "ca", "status")["waits_for_lists"] is False
    serial = load_credential(tmp_path / "victim").credential.leaf.serial_number
    lists = CrlSet.read((new / "ca" / "crl.pem").read_bytes())
    assert serial in {item for crl in lists.crls.values() for item in crl.revoked}
    assert CrlSet.read(outside.read_bytes()).merge_newer(lists)[1] == ()

    waiting = told(new, "registration", "confirm")
    assert waiting["waiting"] == ["spiffe://shop.internal/orders"]
    assert told(new, "registration", "confirm", "--all")["confirmed"] == waiting["waiting"]
    acknowledged = told(new, "audit", "acknowledge")
    assert acknowledged["status"] == "acknowledged"
    with serving(new, ports) as served, running(agent, "agent", str(agent), name="agent") as it:
        served.line("Serving")
        told(new, "issue", "web")
        it.stop()
    assert handfast(new, "audit", "verify").returncode == 0


def test_the_drill_with_a_retirement(state: Path, tmp_path: Path) -> None:
    new, file = tmp_path / "new", str(tmp_path / "ca.backup")
    told(state, "issue", "orders", "--out", str(tmp_path / "orders"))
    told(state, "ca", "backup", "--out", file)
    shutil.rmtree(state)
    made = told(new, "ca", "restore", file, "--dir", str(new), "--retire")
    assert made["signs"] is True
    assert len(made["retired"]) == 1
    told(new, "issue", "web", "--out", str(tmp_path / "web"))
    for name, code in (("web", 0), ("orders", 1)):
        for part in ("bundle.pem", "crl.pem"):
            shutil.copy(new / "ca" / part, tmp_path / name / part)
        verified = handfast(new, "verify", str(tmp_path / name), "--as", "server")
        assert verified.returncode == code, verified.stdout


def test_a_restore_names_its_folder_and_takes_nothing_from_elsewhere(
    state: Path, tmp_path: Path
) -> None:
    file = str(tmp_path / "ca.backup")
    told(state, "ca", "backup", "--out", file)
    assert handfast(state, "ca", "restore", file).returncode == 2
    full = tmp_path / "full"
    full.mkdir()
    (full / "note.txt").write_text("mine")
    done = handfast(full, "ca", "restore", file, "--dir", str(full))
    assert done.returncode == 1
    assert [item.name for item in full.iterdir()] == ["note.txt"]
    done = subprocess.run(
        [*_command(), "ca", "restore", file, "--dir", str(tmp_path / "new")],
        env={**os.environ, "HANDFAST_LEDGER": f"sqlite:///{tmp_path}/elsewhere.db"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "names another place" in done.stderr
    assert not (tmp_path / "new").exists()


def _command() -> list[str]:
    import sys  # noqa: PLC0415

    return [sys.executable, "-c", "from pki.cli.entry import main; main()"]
