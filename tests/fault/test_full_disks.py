"""A CA whose disk is really full: a revocation takes the space in reserve, or does without."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.enrollment import create_registration, delete_registration
from pki.authority.ledger.databases.failed_sync import NOTE
from pki.authority.registrations import Registration
from pki.cli.service.operator import operator
from pki.errors import LedgerError, NotRecordedError, StateError
from pki.identity import SpiffeId
from pki.x509 import CrlSet
from tests.bench.ca.signing_requests import make_ders
from tests.fault.loaded_ca import Held, admins, check_held, load, make_ca, revoke_one, served
from tests.interop.shop import eventually
from tests.served_process import handfast

SIZE = 16 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of its own, which a test can fill up."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system to fill up")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"root may not mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Take all that is left of a file system."""
    with (disk / "filler").open("ab", buffering=0) as filler:
        for size in (1 << 20, 4096, 1):
            while True:
                try:
                    if filler.write(b"x" * size) < size:
                        break
                except OSError:
                    break


def use_up(ca: Authority, disk: Path) -> None:
    """Issue until nothing can be recorded any more, in the ledger's own files either."""
    fill(disk)
    for _ in range(2000):
        try:
            ca.issue("payments")
        except StateError:
            fill(disk)
            return
    raise AssertionError("the disk is not full")


def revoked_in(folder: Path) -> frozenset[str]:
    crls = CrlSet.read((folder / "crl.pem").read_bytes())
    return frozenset(f"{number:x}" for item in crls.crls.values() for number in item.revoked)


def make_small_ca(folder: Path) -> str:
    """Make a CA that has issued a certificate; return its serial number."""
    with Authority.create(folder / "ca", "shop.internal") as ca:
        issued = ca.issue("orders")
        issued.save(folder / "orders")
        return f"{issued.leaf.serial_number:x}"


def test_a_revocation_takes_the_space_in_reserve_and_nothing_else_does(disk: Path) -> None:
    serial = make_small_ca(disk)
    with Authority.open(disk / "ca") as ca:
        fill(disk)
        use_up(ca, disk)
        assert ca.context.reserve.held() > 0
        ca.revoke(serial)
        assert serial in revoked_in(disk / "ca")
        assert ca.pending_revocations() == ()
        record = ca.certificate(int(serial, 16))
        assert record is not None
        assert record.revoked_at is not None
        assert ca.context.reserve.held() == 0
        # There is room again, and with the next thing that is published the reserve is there too.
        (disk / "filler").unlink()
        ca.refresh_crls(force=True)
        assert ca.context.reserve.held() >= ca.context.reserve.wanted()
        assert ca.verify_audit_log().findings == ()


def test_the_command_takes_the_space_in_reserve_too(disk: Path) -> None:
    serial = make_small_ca(disk)
    fill(disk)
    assert handfast(disk, "issue", "payments").returncode != 0
    done = handfast(disk, "revoke", "orders")
    assert done.returncode == 0, done.stdout + done.stderr
    assert serial in revoked_in(disk / "ca") & revoked_in(disk / "orders")
    with Authority.open(disk / "ca", read_only=True) as ca:
        assert ca.pending_revocations() == ()
        assert ca.verify_audit_log().findings == ()
    status = handfast(disk, "ca", "status")
    assert "IN RESERVE for revocations on a full disk: 0 KiB of 1024" in status.stdout, status


def test_without_a_reserve_it_is_kept_where_space_was_taken_before(
    disk: Path, tmp_path: Path
) -> None:
    serial = make_small_ca(disk)
    with Authority.open(disk / "ca") as ca:
        (disk / "ca" / "ledger.reserve").unlink()
        fill(disk)
        use_up(ca, disk)
        with pytest.raises(StateError):
            ca.revoke(serial)  # The list can't be written to this disk.
        assert [item.serials for item in ca.pending_revocations()] == [(serial,)]
        assert ca.is_pending_kept()
        _, crls = ca.trust()
        assert any(int(serial, 16) in item.revoked for item in crls.crls.values())
        with pytest.raises(LedgerError):
            ca.issue("refunds")
    (disk / "filler").unlink()
    with Authority.open(disk / "ca") as again:
        assert again.pending_revocations() == ()
        assert serial in revoked_in(disk / "ca")
        assert again.verify_audit_log().findings == ()
        again.issue("refunds")


def test_the_command_does_without_a_reserve_too(disk: Path) -> None:
    serial = make_small_ca(disk)
    (disk / "ca" / "ledger.reserve").unlink()
    fill(disk)
    done = handfast(disk, "revoke", "orders")
    assert done.returncode == 5, done.stdout + done.stderr
    assert "revocations.pending keeps it" in done.stderr
    (disk / "filler").unlink()
    assert handfast(disk, "crl").returncode == 0
    assert serial in revoked_in(disk / "ca") & revoked_in(disk / "orders")
    assert handfast(disk, "audit", "verify").returncode == 0


def test_the_reserve_lies_on_the_disk_of_the_ledger(disk: Path, tmp_path: Path) -> None:
    ledger = disk / "ledger" / "ledger.db"
    with Authority.create(tmp_path / "ca", "shop.internal", ledger=ledger) as ca:
        assert (disk / "ledger" / "ledger.reserve").exists()
        serial = f"{ca.issue('orders').leaf.serial_number:x}"
        use_up(ca, disk)
        ca.revoke(serial)
        assert ca.pending_revocations() == ()
        assert serial in revoked_in(tmp_path / "ca")
        assert ca.context.reserve.held() == 0
        # And once more, without any: the CA's own folder keeps it.
        other = ca.certificates()[-1].serial
        use_up(ca, disk)
        ca.revoke(other)
        assert ca.is_pending_kept()
        assert {serial, other} <= revoked_in(tmp_path / "ca")


def test_a_distrust_takes_the_space_in_reserve(disk: Path) -> None:
    make_small_ca(disk)
    with Authority.open(disk / "ca") as ca:
        leaked = ca.issuers()[1]
        fill(disk)
        use_up(ca, disk)
        assert ca.distrust(leaked.key_id).status.value == "distrusted"
        assert ca.context.reserve.held() == 0
        assert f"{leaked.certificate.serial_number:x}" in revoked_in(disk / "ca")
        assert ca.verify_audit_log().findings == ()


def test_the_command_to_distrust_takes_the_space_in_reserve(disk: Path) -> None:
    make_small_ca(disk)
    with Authority.open(disk / "ca", read_only=True) as ca:
        leaked = ca.issuers()[1]
    fill(disk)
    done = handfast(disk, "ca", "distrust", leaked.key_id)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{leaked.certificate.serial_number:x}" in revoked_in(disk / "ca")


def test_without_a_reserve_a_distrust_says_that_it_was_not_done(disk: Path) -> None:
    make_small_ca(disk)
    with Authority.open(disk / "ca") as ca:
        (disk / "ca" / "ledger.reserve").unlink()
        use_up(ca, disk)
        with pytest.raises(NotRecordedError, match="is still trusted"):
            ca.distrust(ca.issuers()[1].key_id)
        assert ca.issuers()[1].status.value == "active"


def test_deleting_a_registration_takes_the_space_in_reserve_if_it_revokes_something(
    disk: Path,
) -> None:
    with Authority.create(disk / "ca", "shop.internal") as ca:
        names = [SpiffeId.of_path(ca.trust_domain, name) for name in ("orders", "idle")]
        for name in names:
            create_registration(ca.context, operator(), Registration(name))
        serial = f"{ca.issue('orders').leaf.serial_number:x}"
        use_up(ca, disk)
        with pytest.raises(LedgerError):
            delete_registration(ca.context, operator(), names[1])
        assert ca.context.reserve.held() > 0
        changed = delete_registration(ca.context, operator(), names[0])
        assert [item.serial for item in changed.revoked] == [serial]
        assert ca.context.reserve.held() == 0


def test_a_served_ca_on_a_full_disk_revokes_and_issues_again_once_there_is_room(
    disk: Path, tmp_path: Path
) -> None:
    clients = 4
    make_ca(disk, clients)
    held = Held()
    with served(disk) as (process, address), admins(disk, address, 1) as (admin,):
        with load(disk, address, clients, held, make_ders(2000)):
            held.wait_for(50)

            def is_full() -> bool:
                fill(disk)
                return len(held.failed) == clients

            assert eventually(is_full, 60)
        assert "CA_UNAVAILABLE" in str(held.failed)
        # For each that asks: what the first one leaves of the reserve is filled too.
        for leaf in held.leaves[:3]:
            revoke_one(admin, leaf.serial_number, held)
            fill(disk)
        (disk / "filler").unlink()
        held.failed.clear()
        assert eventually(
            lambda: held.revoked <= {int(item, 16) for item in revoked_in(disk / "ca")}
        )
        with load(disk, address, clients, held, make_ders(40)):
            held.wait_for(len(held.leaves) + 20)
        assert process.process.poll() is None
    check_held(disk, held)


def test_the_command_revokes_though_there_is_no_room_to_copy_the_ledger_after_a_failed_sync(
    disk: Path,
) -> None:
    serial = make_small_ca(disk)
    (disk / "ca" / NOTE).touch(0o600)
    (disk / "ca" / "ledger.reserve").unlink()
    fill(disk)
    ledger = (disk / "ca" / "ledger.db").read_bytes()
    refused = handfast(disk, "issue", "payments")
    assert refused.returncode == 1
    assert "it can't be copied to a new file" in refused.stderr
    done = handfast(disk, "revoke", "orders")
    assert done.returncode == 5, done.stdout + done.stderr
    assert "revocations.pending keeps it" in done.stderr
    assert (disk / "ca" / "ledger.db").read_bytes() == ledger
    (disk / "filler").unlink()
    assert handfast(disk, "crl").returncode == 0
    assert not (disk / "ca" / NOTE).exists()
    assert serial in revoked_in(disk / "ca") & revoked_in(disk / "orders")
    assert handfast(disk, "audit", "verify").returncode == 0
