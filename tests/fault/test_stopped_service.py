"""A served CA that stands still under load: others revoke meanwhile, and nothing is lost when it
goes on. ``STOPPED_SECONDS=120`` lets it stand still for two minutes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.files import hold_lock
from pki.x509 import CrlSet
from tests.bench.ca.signing_requests import make_ders
from tests.fault.loaded_ca import Held, check_held, load, make_ca, served
from tests.served_process import handfast

SECONDS = float(os.environ.get("STOPPED_SECONDS", "3"))
TIMES = 3  # each at another point, perhaps within a transaction
CLIENTS = 8
LOCKS = (".publish.lock", ".ledger.mark.lock", ".audit.lock", ".revocations.lock")


def received(home: Path) -> CrlSet:
    """Return what a receiver has: the CA's own folder may be locked by the service."""
    return CrlSet.read((home / "ops" / "crl.pem").read_bytes())


def published(home: Path) -> CrlSet:
    """Return what lies in the CA's own folder."""
    return CrlSet.read((home / "ca" / "crl.pem").read_bytes())


def revokes(crls: CrlSet, serial: int) -> bool:
    return any(serial in item.revoked for item in crls.crls.values())


@pytest.mark.timeout(120 + int(2 * TIMES * SECONDS))
def test_nothing_is_lost_and_a_command_revokes_while_the_service_stands_still(
    tmp_path: Path,
) -> None:
    make_ca(tmp_path, CLIENTS)
    held = Held()
    with (
        served(tmp_path) as (process, address),
        load(tmp_path, address, CLIENTS, held, make_ders(4000)),
    ):
        for _ in range(TIMES):
            held.wait_for(len(held.leaves) + 100)
            process.process.send_signal(signal.SIGSTOP)
            try:
                began = time.monotonic()
                serial = held.leaves[-1].serial_number
                done = handfast(tmp_path, "revoke", f"{serial:x}")
                # It is recorded, or kept and published where the service holds the ledger.
                assert done.returncode in (0, 5), done.stderr
                assert revokes(received(tmp_path), serial)
                held.see(received(tmp_path))
                held.revoked.add(serial)
                time.sleep(max(0.0, SECONDS - (time.monotonic() - began)))
            finally:
                process.process.send_signal(signal.SIGCONT)
        held.wait_for(len(held.leaves) + 100)
    check_held(tmp_path, held)
    with Authority.open(tmp_path / "ca") as ca:
        assert not ca.pending_revocations()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("names", [LOCKS[:1], LOCKS[1:2], LOCKS])
def test_whatever_a_service_has_locked_that_stands_still_a_revocation_reaches_receivers(
    tmp_path: Path, names: Sequence[str]
) -> None:
    make_ca(tmp_path, 1)
    with Authority.open(tmp_path / "ca") as ca:
        serial = ca.issue("orders").leaf.serial_number
    with ExitStack() as stack:
        for name in names:
            stack.callback(hold_lock(tmp_path / "ca", name=name))
        done = handfast(tmp_path, "revoke", f"{serial:x}")
        assert done.returncode in (0, 5), done.stderr
        assert revokes(received(tmp_path), serial)
        # Where the CA's own folder lacks it, that is told, and nobody is sent there.
        is_published = revokes(published(tmp_path), serial)
        assert is_published == ("to every receiver elsewhere" in done.stdout)
        assert is_published or "did not reach" in done.stderr
    assert handfast(tmp_path, "crl").returncode == 0
    with Authority.open(tmp_path / "ca") as ca:
        assert not ca.pending_revocations()
        assert f"{serial:x}" in {item.serial for item in ca.certificates() if item.revoked_at}
    assert revokes(published(tmp_path), serial)
