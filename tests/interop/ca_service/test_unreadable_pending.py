"""What is pending can't be read: what is known of it is in force all the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import grpc
import pytest

from pki._proto.handfast.ca.v1 import authority_pb2
from pki.authority.pending.file import PendingFile
from pki.authority.pending.record import PendingEntry, PendingRevocation
from pki.errors import LedgerError, StateError
from pki.x509 import CrlSet
from tests.ca_service import Served
from tests.interop.asking import asking, reason
from tests.interop.shop import SECONDS, eventually
from tests.stuck_ledger import stuck_ledger


def writable_by_others(file: Path) -> None:
    file.write_bytes(b"x")
    file.chmod(0o666)


def huge(file: Path) -> None:
    with file.open("wb") as opened:
        opened.write(b"x")
        os.truncate(opened.fileno(), 65 * 1024 * 1024)


def link(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to(file.with_name("elsewhere"))


def published(ca: Served) -> set[str]:
    crls = CrlSet.read((ca.authority.path / "crl.pem").read_bytes())
    return {f"{number:x}" for item in crls.crls.values() for number in item.revoked}


def announced(ca: Served) -> set[str]:
    return {item.serial for item in ca.service.parts.feed.state.pending}


@pytest.mark.parametrize("damage", [writable_by_others, huge, link])
def test_what_is_in_memory_is_announced_and_listed(
    ca: Served, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    file = ca.authority.path / "revocations.pending"
    serial = f"{ca.authority.issue('orders').leaf.serial_number:x}"
    with asking(ca, tmp_path, "ops") as ops:
        damage(file)
        with stuck_ledger(ca.authority.path):
            assert ops.revoke(serial=serial) == 1
            assert serial in announced(ca)
            assert eventually(lambda: serial in published(ca), SECONDS)
            assert not ca.authority.is_pending_kept()
        # It is recorded, and nothing is signed until the rest can be read.
        assert eventually(lambda: not ca.authority.pending_revocations(), SECONDS)
        record = ca.authority.certificate(int(serial, 16))
        assert record is not None
        assert record.revoked_at is not None
        with pytest.raises(StateError, match=r"revocations\.pending"):
            ca.authority.issue("payments")
        # What is revoked now is announced and listed too, whatever the file holds.
        other = f"{ca.authority.certificates()[-1].serial}"
        assert ops.revoke(serial=other) == 1
        lists = ca.service.parts.feed.state
        assert eventually(
            lambda: any(
                int(other, 16) in item.revoked for item in ca.service.parts.feed.state.crls.values()
            ),
            SECONDS,
        ), lists


def fail() -> NoReturn:
    raise LedgerError("the ledger can't be read")


def test_what_is_pending_is_answered_although_it_could_not_be_announced_at_once(
    ca: Served, tmp_path: Path
) -> None:
    serial = f"{ca.authority.issue('orders').leaf.serial_number:x}"
    feed = ca.service.parts.feed
    policy = feed._policy
    with asking(ca, tmp_path, "ops") as ops, stuck_ledger(ca.authority.path):
        feed._policy = fail
        try:
            assert ops.revoke(serial=serial) == 1
        finally:
            feed._policy = policy
        assert eventually(lambda: serial in announced(ca), SECONDS)


def test_what_nobody_was_told_is_said_to_be_so(ca: Served, tmp_path: Path) -> None:
    serial = f"{ca.authority.issue('orders').leaf.serial_number:x}"
    parts = ca.service.parts
    policy, keys = parts.feed._policy, ca.authority.path.glob("issuing-*.key.pem")
    with asking(ca, tmp_path, "ops") as ops, stuck_ledger(ca.authority.path):
        link(ca.authority.path / "revocations.pending")
        moved = [(key, key.with_suffix(".away")) for key in keys]
        for key, away in moved:
            key.rename(away)
        parts.context._signers.clear()
        parts.feed._policy = fail
        try:
            with pytest.raises(grpc.RpcError) as caught:
                ops.authority.Revoke(authority_pb2.RevokeRequest(serial=serial), timeout=SECONDS)
        finally:
            parts.feed._policy = policy
            for key, away in moved:
                away.rename(key)
        assert reason(caught.value) == "CA_UNAVAILABLE"
        assert "announced to nobody" in str(caught.value)
        # As soon as it can be, it is announced.
        assert eventually(lambda: serial in announced(ca), SECONDS)


def test_what_one_worker_alone_knows_is_said_to_be_so(ca: Served, tmp_path: Path) -> None:
    serial = f"{ca.authority.issue('orders').leaf.serial_number:x}"
    parts = ca.service.parts
    parts.workers = 2
    with asking(ca, tmp_path, "ops") as ops, stuck_ledger(ca.authority.path):
        link(ca.authority.path / "revocations.pending")
        with pytest.raises(grpc.RpcError) as caught:
            ops.authority.Revoke(authority_pb2.RevokeRequest(serial=serial), timeout=SECONDS)
        assert reason(caught.value) == "CA_UNAVAILABLE"
        assert "in the memory of one worker" in str(caught.value)
        # Its own followers know it all the same.
        assert serial in announced(ca)
        (ca.authority.path / "revocations.pending").unlink()
        # In the file, all workers read it.
        other = f"{ca.authority.certificates()[-1].serial}"
        parts.context.pending.forget([item.id for item in parts.context.pending.in_memory()])
        assert ops.revoke(serial=other) == 1


def test_a_torn_line_beside_a_good_one_stops_no_list(ca: Served, tmp_path: Path) -> None:
    context = ca.authority.context
    first, second = (ca.authority.issue(name).leaf for name in ("orders", "payments"))
    at, end = int(context.now().timestamp()), int(first.not_valid_after_utc.timestamp())
    issuer = next(item.key_id for item in ca.authority.issuers() if item.status == "active")
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    file = PendingFile(scratch)
    for number in range(2):
        serials = (f"{first.serial_number:x}",)
        entry = PendingEntry(issuer, serials[0], end, at)
        file.append(
            PendingRevocation(
                f"{number}", context.now(), "ops", serials, "superseded", number == 1, (entry,)
            )
        )
    lines = file.path.read_bytes().rstrip(b"\0").split(b"\n")
    torn = b"\n".join([lines[0], b"torn" + b"x" * 40, *lines[1:]])
    serial = f"{second.serial_number:x}"
    with asking(ca, tmp_path, "ops") as ops:
        (ca.authority.path / file.path.name).write_bytes(torn)
        assert ops.revoke(serial=serial) == 1
        assert eventually(lambda: serial in published(ca), SECONDS)
