"""Disks that hang or fail, at the CA and at its followers, hold up no revocation."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509

from pki.ca_client import CaIdentity
from pki.ca_client.storage.identity_store import SIGNED_BUNDLE
from pki.files import writer_lock
from tests.ca_service import Served
from tests.interop.ca_service.test_followers import enrolled
from tests.interop.shop import eventually


@contextmanager
def held_directory(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory in another thread, as a writer does whose disk hangs."""
    is_held, ending = threading.Event(), threading.Event()

    def hold() -> None:
        with writer_lock(directory):
            is_held.set()
            ending.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(10)
    try:
        yield
    finally:
        ending.set()
        holder.join()


def knows(identity: CaIdentity, leaf: x509.Certificate) -> bool:
    lists = identity.credential.crls
    assert lists is not None
    serial = leaf.serial_number
    return serial in {item for _, item in lists.announced} or any(
        serial in item.revoked for item in lists.crls.values()
    )


def reported(ca: Served, identity: CaIdentity) -> int:
    """Return which bundle the CA believes that an identity trusts."""
    with ca.authority.context.ledger.snapshot() as transaction:
        report = transaction.rotation.report_of(f"{identity.credential.leaf.serial_number:x}")
    return 0 if report is None else report.bundle_number


def test_a_directory_that_cant_be_written_delays_no_revocation(ca: Served, tmp_path: Path) -> None:
    leaves = [ca.authority.issue(name).credential.leaf for name in ("billing", "shipping")]
    with enrolled(ca, tmp_path / "orders") as identity:
        assert eventually(lambda: identity.bundle_number == 1)
        with held_directory(tmp_path / "orders"):
            for leaf in leaves:
                ca.authority.revoke(leaf.serial_number)
                assert eventually(lambda leaf=leaf: knows(identity, leaf), 5)  # type: ignore[misc]
                # Meanwhile the list comes, and can't be written.
                assert eventually(lambda: not ca.service.parts.feed.state.unlisted)
                time.sleep(0.5)
        assert eventually(lambda: (tmp_path / "orders" / "crl.pem").stat().st_size > 0)


def test_a_bundle_counts_for_the_ca_once_it_is_written(ca: Served, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path / "orders") as identity:
        file = tmp_path / "orders" / SIGNED_BUNDLE
        before = file.read_bytes()
        file.unlink()
        file.mkdir()
        ca.authority.prepare_root()
        assert eventually(lambda: identity.bundle_number == 2)
        time.sleep(2)
        # The programs that read the directory do not trust the new root yet.
        assert reported(ca, identity) < 2
        file.rmdir()
        file.write_bytes(before)
        assert eventually(lambda: reported(ca, identity) == 2, 20)
        assert file.read_bytes() != before


def test_a_ledger_that_is_locked_stops_no_heartbeat(ca: Served, tmp_path: Path) -> None:
    longest = 0.0
    ending = threading.Event()

    def look() -> None:
        nonlocal longest
        while not ending.wait(0.02):
            asked_at = time.monotonic()
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), ca.loop).result(30)
            longest = max(longest, time.monotonic() - asked_at)

    with enrolled(ca, tmp_path / "orders") as identity:
        assert eventually(lambda: ca.service.parts.counters.followers == 1)
        looking = threading.Thread(target=look)
        ledger = sqlite3.connect(ca.authority.path / "ledger.db", isolation_level=None)
        looking.start()
        try:
            ledger.execute("BEGIN IMMEDIATE")
            time.sleep(3)
            assert identity.cut_off_since is None
            ledger.execute("ROLLBACK")
        finally:
            ledger.close()
            ending.set()
            looking.join()
    assert longest < 2.5, "as long as the ledger was held"
