"""A throw-away CA is a whole one, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import pki
from pki.errors import InputError
from pki.files.ephemeral_folder import EphemeralFolder
from pki.identity import DnsName
from tests.support import NOW, Clock


def test_it_issues_renews_and_revokes_and_is_gone_when_it_is_closed(tmp_path: Path) -> None:
    clock = Clock()
    with pki.Authority.ephemeral("shop.internal", clock=clock) as ca:
        folder = ca.path
        issued = ca.issue("orders", dns=[DnsName("localhost")], lifetime=timedelta(hours=2))
        assert issued.leaf.not_valid_after_utc == NOW + timedelta(hours=2)
        issued.save(tmp_path / "orders")
        renewed = ca.renew(issued.leaf)
        assert {item.certificate for item in ca.revoke(issued.leaf.serial_number)} == {
            issued.leaf,
            renewed.leaf,
        }
        assert folder.stat().st_mode & 0o077 == 0
        assert folder.parent.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    assert not folder.parent.exists()
    # What was issued stays.
    assert (tmp_path / "orders" / "key.pem").exists()


def test_two_of_them_know_nothing_of_each_other() -> None:
    with pki.Authority.ephemeral("a.internal") as one, pki.Authority.ephemeral("a.internal") as two:
        assert one.path != two.path
        assert two.certificate(one.issue("orders").leaf.serial_number) is None


def test_names_that_are_none_leave_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    real = EphemeralFolder.make

    def noted() -> EphemeralFolder:
        folder = real()
        made.append(folder.path)
        return folder

    monkeypatch.setattr(EphemeralFolder, "make", noted)
    for domain in ("no_dns_name", "UPPER", ""):
        with pytest.raises(InputError):
            pki.Authority.ephemeral(domain)
    assert [path for path in made if path.exists()] == []


PROGRAM = """
import os, sys
import pki
ca = pki.Authority.ephemeral("shop.internal")
print(ca.path.parent, flush=True)
if os.fork() == 0:
    sys.exit()  # runs what a process does at its end
os.wait()
print(ca.path.exists())
"""


def test_a_process_that_ends_removes_it_and_its_child_does_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    folder, survived_the_child = done.stdout.splitlines()
    assert survived_the_child == "True"
    assert not os.path.exists(folder)


IN_A_BLOCK = """
import os, sys
import pki
with pki.Authority.ephemeral("shop.internal") as ca:
    if os.fork() == 0:
        sys.exit()  # leaves the block
    os.wait()
    print(ca.issue("orders").spiffe_id)
"""


def test_a_child_that_leaves_the_block_takes_the_ca_from_nobody() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_BLOCK], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "spiffe://shop.internal/orders\n"), done.stderr
