"""A ledger that can't be written any more, its file system is read-only: revocations go on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.pending.file import PendingFile
from pki.x509 import CrlSet
from tests.bench.ca.signing_requests import make_ders
from tests.failing_calls import TOLD, fail_writes, fails_when_told, why_not
from tests.fault.loaded_ca import Held, admins, check_held, load, make_ca, revoke_one, served
from tests.interop.shop import eventually
from tests.served_process import handfast

CLIENTS = 4


def published(folder: Path) -> set[int]:
    crls = CrlSet.read((folder / "crl.pem").read_bytes())
    return {serial for item in crls.crls.values() for serial in item.revoked}


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_a_service_whose_ledger_becomes_read_only_revokes_and_issues_nothing(
    tmp_path: Path,
) -> None:
    make_ca(tmp_path, CLIENTS)
    held = Held()
    environment = fails_when_told(tmp_path / "loaded-first", fail_writes)
    with (
        served(tmp_path, environment) as (process, address),
        admins(tmp_path, address, 1) as (admin,),
    ):
        with load(tmp_path, address, CLIENTS, held, make_ders(2000)):
            held.wait_for(50)
            process.process.send_signal(TOLD)
            assert eventually(lambda: len(held.failed) == CLIENTS, 60)
        assert "CA_UNAVAILABLE" in str(held.failed)
        good = [leaf for leaf in held.leaves if leaf.serial_number not in held.revoked]
        for leaf in good[:3]:
            revoke_one(admin, leaf.serial_number, held)
        assert eventually(lambda: held.revoked <= published(tmp_path / "ca"), 20)
        held.see(CrlSet.read((tmp_path / "ca" / "crl.pem").read_bytes()))
        # The load may have revoked one too, since the ledger can't be written.
        pending = PendingFile(tmp_path / "ca").read()
        serials = {entry.serial for record in pending for entry in record.entries}
        assert {f"{leaf.serial_number:x}" for leaf in good[:3]} <= serials
        assert process.process.poll() is None
        process.process.kill()
    held.failed.clear()
    with (
        served(tmp_path) as (process, address),
        load(tmp_path, address, CLIENTS, held, make_ders(40)),
    ):
        held.wait_for(len(held.leaves) + 20)
    check_held(tmp_path, held)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_a_command_revokes_while_the_ledgers_disk_is_mounted_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, home = tmp_path / "disk", tmp_path / "state"
    disk.mkdir()
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("root may not mount a tmpfs here")
    try:
        monkeypatch.setenv("HANDFAST_LEDGER", f"sqlite:///{disk / 'ledger.db'}")
        handfast(home, "ca", "init", "--trust-domain", "shop.internal")
        for name in ("orders", "payments"):
            assert handfast(home, "issue", name).returncode == 0
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")
        for refused in (("issue", "web"), serve):
            done = handfast(home, *refused)
            assert done.returncode == 1
            assert "read" in done.stderr or "can't be" in done.stderr
        done = handfast(home, "revoke", "orders")
        assert done.returncode == 5, done.stderr
        assert "revocations.pending keeps it" in done.stderr
        (serial,) = published(home / "ca")
        assert published(home / "payments") == {serial}
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert handfast(home, "issue", "web").returncode == 0
        assert handfast(home, "audit", "verify").returncode == 0
        assert serial in published(home / "ca")
        with Authority.open(home / "ca", ledger=disk / "ledger.db") as ca:
            record = ca.certificate(serial)
            assert record is not None
            assert record.revoked_at is not None
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
