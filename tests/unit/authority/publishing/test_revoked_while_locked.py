"""A revocation while another process holds the ledger: published at once, recorded afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.ledger.databases.access import LedgerAccess
from pki.errors import (
    InputError,
    LedgerError,
    NotPermittedError,
    NotRenewableError,
    OlderLedgerError,
)
from pki.keys import generate_key
from pki.x509 import CrlSet
from tests.stuck_ledger import stuck_ledger
from tests.support import Clock, make_authority

pytestmark = pytest.mark.sqlite

QUICKLY = 0.05


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Authority]:
    with make_authority(tmp_path) as authority:
        authority.context.revocation_wait = QUICKLY
        yield authority


def published(ca: Authority) -> frozenset[str]:
    crls = CrlSet.read((ca.path / "crl.pem").read_bytes())
    return frozenset(f"{number:x}" for item in crls.crls.values() for number in item.revoked)


def numbers(ca: Authority) -> list[int]:
    return sorted(item.number for item in ca.trust()[1].crls.values())


def serial_of(ca: Authority, name: str) -> str:
    return f"{ca.issue(name).leaf.serial_number:x}"


def entries_of(ca: Authority) -> list[tuple[str, str | None, object]]:
    return [
        (entry.action.value, entry.serial, entry.details.get("source"))
        for _, entry in ca.audit_entries()
        if entry.action.value in {"issue", "renew", "revoke"}
    ]


def hide_pending(ca: Authority) -> None:
    """Let the CA decide as a process that began its transaction before the revocation."""
    ca.context.ledger.recorder = lambda _: None


def test_what_is_revoked_is_on_a_published_list_while_the_ledger_is_held(ca: Authority) -> None:
    serial = serial_of(ca, "orders")
    with stuck_ledger(ca.path):
        revoked = ca.revoke(serial, reason="superseded")
        assert [(item.serial, item.reason) for item in revoked] == [(serial, "superseded")]
        assert revoked[0].revoked_at == ca.now()
        assert serial in published(ca)
        assert [item.serials for item in ca.pending_revocations()] == [(serial,)]
        assert ca.is_pending_kept()


def test_the_next_that_opens_the_ca_records_it_with_an_audit_entry(
    ca: Authority, tmp_path: Path
) -> None:
    serial = serial_of(ca, "orders")
    with stuck_ledger(ca.path):
        ca.revoke(serial, reason="superseded")
        before = numbers(ca)
    decided = int(ca.now().timestamp())
    clock = Clock()
    clock.move(minutes=5)
    with Authority.open(ca.path, clock=clock) as again:
        record = again.certificate(int(serial, 16))
        assert record is not None
        assert record.revoked_at is not None
        assert int(record.revoked_at.timestamp()) == decided
        assert entries_of(again)[-1] == ("revoke", serial, "pending")
        assert again.verify_audit_log().findings == ()
        assert again.pending_revocations() == ()
        assert serial in published(again)
        assert numbers(again)[-1] > before[-1]
        assert again.events() == ()


def test_its_list_has_a_number_that_no_stuck_writer_has_used(ca: Authority) -> None:
    serial = serial_of(ca, "orders")
    last = numbers(ca)[-1]
    with stuck_ledger(ca.path):
        ca.revoke(serial)
        assert numbers(ca)[-1] > last + 1000


def test_recorded_twice_it_changes_nothing(ca: Authority) -> None:
    serial = serial_of(ca, "orders")
    with stuck_ledger(ca.path):
        ca.revoke(serial, reason="key-compromise")
    file = ca.path / "revocations.pending"
    kept = file.read_bytes()
    Authority.open(ca.path, clock=Clock()).close()
    assert not file.read_bytes().strip(b"\0")
    state, lists = ca.ledger_state(), ca.trust()[1]
    # As after a crash between the commit and the emptying of the file.
    file.write_bytes(kept)
    with Authority.open(ca.path, clock=Clock()) as again:
        assert again.ledger_state() == state
        assert {item.der for item in again.trust()[1].crls.values()} == {
            item.der for item in lists.crls.values()
        }
    assert not file.read_bytes().strip(b"\0")


def test_before_anything_else_is_issued_it_is_recorded(ca: Authority) -> None:
    serial = serial_of(ca, "orders")
    with stuck_ledger(ca.path):
        ca.revoke(serial)
    other = serial_of(ca, "payments")
    assert entries_of(ca)[-2:] == [("revoke", serial, "pending"), ("issue", other, None)]


def test_nothing_is_signed_as_long_as_it_is_not_recorded(ca: Authority) -> None:
    serial = serial_of(ca, "orders")
    with stuck_ledger(ca.path):
        ca.revoke(serial)
    hide_pending(ca)
    with pytest.raises(LedgerError, match="not recorded in the ledger yet"):
        ca.issue("payments")
    with pytest.raises(LedgerError, match="not recorded in the ledger yet"):
        ca.rotate()


def test_while_the_ledger_is_held_nothing_is_renewed_or_handed_out_again(ca: Authority) -> None:
    issued = ca.issue("orders")
    renewed_key = generate_key()
    with stuck_ledger(ca.path):
        ca.revoke(issued.leaf.serial_number)
    hide_pending(ca)
    with pytest.raises(NotRenewableError, match="was revoked"):
        ca.renew(issued.leaf, key=renewed_key)


def test_a_repeated_request_for_it_is_refused(ca: Authority, tmp_path: Path) -> None:
    first = ca.issue("orders")
    key = generate_key()
    second = ca.renew(first.leaf, key=key)
    with stuck_ledger(ca.path):
        ca.revoke(second.leaf.serial_number)
    hide_pending(ca)
    with pytest.raises(NotPermittedError, match="was revoked"):
        ca.renew(first.leaf, key=key)


def test_what_was_renewed_from_it_by_the_stuck_writer_is_revoked_too(ca: Authority) -> None:
    first = ca.issue("orders")
    with stuck_ledger(ca.path):
        ca.revoke(first.leaf.serial_number)
    file = ca.path / "revocations.pending"
    kept = file.read_bytes()
    file.write_bytes(b"")
    # The writer had begun before the revocation, and commits now.
    renewed = ca.renew(first.leaf)
    file.write_bytes(kept)
    with Authority.open(ca.path, clock=Clock()) as again:
        record = again.certificate(renewed.leaf.serial_number)
        assert record is not None
        assert record.revoked_at is not None
        assert f"{renewed.leaf.serial_number:x}" in published(again)


def test_a_compromise_blocks_the_line_once_it_is_recorded(ca: Authority) -> None:
    first = ca.issue("orders")
    second = ca.renew(first.leaf)
    with stuck_ledger(ca.path):
        revoked = ca.revoke(first.leaf.serial_number, reason="key-compromise")
        both = {f"{item.leaf.serial_number:x}" for item in (first, second)}
        assert {item.serial for item in revoked} == both <= published(ca)
    with Authority.open(ca.path, clock=Clock()) as again:
        with again.context.ledger.transaction() as transaction:
            line = transaction.lines.get(revoked[0].line_id)
        assert line is not None
        assert line.blocked_at is not None
        assert again.verify_audit_log().findings == ()


def test_a_workloads_name_means_all_of_its_certificates(ca: Authority) -> None:
    serials = {serial_of(ca, "orders") for _ in range(3)}
    with stuck_ledger(ca.path):
        revoked = ca.revoke_workload("orders")
        assert {item.serial for item in revoked} == serials <= published(ca)
        with pytest.raises(InputError, match="no certificate that is still valid"):
            ca.revoke_workload("payments")


def test_a_serial_number_that_nobody_has_is_refused(ca: Authority) -> None:
    with stuck_ledger(ca.path):
        with pytest.raises(InputError, match="issued no certificate"):
            ca.revoke("abcdef0123456789")
        assert ca.pending_revocations() == ()


def test_a_second_one_keeps_the_first_on_the_list(ca: Authority) -> None:
    serials = [serial_of(ca, name) for name in ("orders", "payments", "refunds")]
    ca.revoke(serials[0])
    with stuck_ledger(ca.path):
        ca.revoke(serials[1])
        between = numbers(ca)[-1]
        ca.revoke(serials[2])
        assert published(ca) == set(serials)
        assert between < numbers(ca)[-1] <= between + 8
    with Authority.open(ca.path, clock=Clock()) as again:
        assert published(again) == set(serials)


def test_another_process_adds_to_the_list_of_the_first(ca: Authority) -> None:
    serials = [serial_of(ca, name) for name in ("orders", "payments")]
    with stuck_ledger(ca.path):
        ca.revoke(serials[0])
        before = numbers(ca)[-1]
        access = LedgerAccess(for_reading=True)
        with Authority.open(ca.path, clock=Clock(), access=access) as other:
            other.revoke(serials[1])
            assert published(other) == set(serials)
            assert before < numbers(other)[-1] <= before + 8


def test_an_older_copy_of_the_ledger_decides_nothing(ca: Authority, tmp_path: Path) -> None:
    serial = serial_of(ca, "orders")
    ca.close()
    shutil.copy(ca.path / "ledger.db", tmp_path / "copy.db")
    with Authority.open(ca.path, clock=Clock()) as again:
        again.issue("payments")
    shutil.copy(tmp_path / "copy.db", ca.path / "ledger.db")
    with (
        stuck_ledger(ca.path),
        pytest.raises(OlderLedgerError),
        Authority.open(ca.path, clock=Clock(), access=LedgerAccess(for_reading=True)) as older,
    ):
        older.revoke(serial)
    assert not (ca.path / "revocations.pending").read_bytes().strip(b"\0")


def test_opened_for_reading_the_ca_changes_nothing_else(ca: Authority) -> None:
    ca.issue("orders")
    state = ca.ledger_state()
    with Authority.open(ca.path, clock=Clock(), access=LedgerAccess(for_reading=True)) as reading:
        with pytest.raises(LedgerError):
            reading.issue("payments")
        assert reading.ledger_state() == state
