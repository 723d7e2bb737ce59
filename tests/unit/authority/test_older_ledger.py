"""An older copy of the ledger: it signs nothing, and what was revoked stays revoked."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from pki.authority import Authority
from pki.errors import NotPermittedError, OlderLedgerError, StateError, VerificationError
from pki.keys import generate_key
from pki.x509 import WORKLOAD, ChainVerifier, Credential, CrlSet, Purpose
from tests.support import Clock, make_authority, request_for

pytestmark = pytest.mark.sqlite


class Backup:
    """A CA whose ledger was copied, and which was used further after the copy."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.home = folder / "ca"
        self.copy = folder / "copy.db"
        with make_authority(folder, self.clock) as ca:
            self.orders = ca.issue("orders")
        shutil.copy(self.home / "ledger.db", self.copy)
        self.whole = folder / "whole"
        shutil.copytree(self.home, self.whole)

    def open(self) -> Authority:
        return Authority.open(self.home, clock=self.clock)

    def put_back(self) -> None:
        for path in self.home.glob("ledger.db*"):
            path.unlink()
        shutil.copy(self.copy, self.home / "ledger.db")

    def put_whole_folder_back(self) -> None:
        shutil.rmtree(self.home)
        shutil.copytree(self.whole, self.home)

    def published(self) -> CrlSet:
        return CrlSet.read((self.home / "crl.pem").read_bytes())

    def recover(self, *crls: CrlSet) -> object:
        return Authority.recover(self.home, crls, clock=self.clock)


@pytest.fixture
def backup(tmp_path: Path) -> Backup:
    return Backup(tmp_path)


def refused(ca: Authority, credential: Credential) -> bool:
    bundle, crls = ca.trust()
    try:
        ChainVerifier(bundle, crls).verify(
            credential.chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=ca.now()
        )
    except VerificationError:
        return True
    return False


def test_an_older_copy_signs_nothing_and_says_how_to_go_on(backup: Backup) -> None:
    with backup.open() as ca:
        ca.revoke(backup.orders.leaf.serial_number)
    before = (backup.home / "crl.pem").read_bytes()
    backup.put_back()
    with pytest.raises(OlderLedgerError, match="older copy") as caught:
        backup.open()
    assert "handfast ca recover" in caught.value.remedy
    assert (backup.home / "crl.pem").read_bytes() == before


def test_a_ca_that_is_open_sees_it_at_its_next_operation(backup: Backup) -> None:
    with backup.open() as ca:
        follower = ca.issue("orders")
        ca.revoke(backup.orders.leaf.serial_number)
        # The copy comes in place, as cp does it.
        (backup.home / "ledger.db-wal").unlink(missing_ok=True)
        ca.close()
        (backup.home / "ledger.db").write_bytes(backup.copy.read_bytes())
        ways: list[Callable[[], object]] = [
            lambda: ca.issue("payments"),
            lambda: ca.issue_request(
                "payments",
                request_for(generate_key()).public_bytes(serialization.Encoding.PEM),
            ),
            lambda: ca.renew(backup.orders.leaf),
            lambda: ca.revoke(follower.leaf.serial_number),
            lambda: ca.refresh_crls(force=True),
            ca.rotate,
            ca.activate_issuer,
            lambda: ca.distrust(ca.issuers()[1].key_id),
            ca.trust,
        ]
        before = backup.published().crls
        for way in ways:
            with pytest.raises(OlderLedgerError, match="older copy"):
                way()
        assert {item.der for item in backup.published().crls.values()} == {
            item.der for item in before.values()
        }


def test_after_recovery_what_was_revoked_stays_so_and_numbers_go_on(backup: Backup) -> None:
    seen = CrlSet.none()
    with backup.open() as ca:
        payments = ca.issue("payments")
        renewed = ca.renew(backup.orders.leaf)
        ca.revoke(payments.leaf.serial_number, reason="key-compromise")
        ca.revoke(backup.orders.leaf.serial_number)
        ca.refresh_crls(force=True)
        seen, _ = seen.merge_newer(ca.trust()[1])
    backup.put_back()
    done = Authority.recover(backup.home, clock=backup.clock)
    assert done.was_older
    assert done.lost_commits == 5
    with backup.open() as ca:
        assert refused(ca, backup.orders.credential)
        assert refused(ca, payments.credential)
        assert refused(ca, renewed.credential)
        with pytest.raises(NotPermittedError, match="revoked"):
            ca.renew(backup.orders.leaf)
        with pytest.raises(NotPermittedError, match="not one that this CA issued"):
            ca.renew(renewed.leaf)
        seen, complaints = seen.merge_newer(ca.trust()[1])
        assert complaints == ()
        ca.revoke(ca.issue("web").leaf.serial_number)
        seen, complaints = seen.merge_newer(ca.trust()[1])
        assert complaints == ()
        assert refused(ca, payments.credential)
        assert "recovered" in {kind for _, kind, _ in ca.events()}


def test_numbers_go_past_every_list_that_may_be_lost_with_the_published_ones(
    backup: Backup,
) -> None:
    old = (backup.home / "crl.pem").read_bytes()
    with backup.open() as ca:
        for _ in range(20):
            ca.refresh_crls(force=True)
        _, newest = ca.trust()
    backup.put_back()
    (backup.home / "crl.pem").write_bytes(old)
    backup.recover()
    with backup.open() as ca:
        after, complaints = newest.merge_newer(ca.trust()[1])
    issuing = backup.orders.chain[1]
    assert complaints == ()
    found = after.crl_for(backup.orders.leaf)
    assert found is not None
    assert found.is_signed_by(issuing)
    before = newest.crl_for(backup.orders.leaf)
    assert before is not None
    assert found.number > before.number


def test_a_key_that_leaked_after_the_copy_stays_shut_out(backup: Backup) -> None:
    with backup.open() as ca:
        ca.revoke(backup.orders.leaf.serial_number, reason="key-compromise")
    backup.put_back()
    backup.recover()
    with backup.open() as ca:
        assert backup.orders.key is not None
        request = request_for(backup.orders.key).public_bytes(serialization.Encoding.PEM)
        backup.clock.move(minutes=11)
        with pytest.raises(NotPermittedError, match="key-compromise"):
            ca.issue_request("orders", request)


def test_the_lost_ledger_is_another_one_if_it_comes_back(backup: Backup, tmp_path: Path) -> None:
    with backup.open() as ca:
        ca.revoke(backup.orders.leaf.serial_number)
    shutil.copy(backup.home / "ledger.db", tmp_path / "newest.db")
    backup.put_back()
    backup.recover()
    shutil.copy(tmp_path / "newest.db", backup.home / "ledger.db")
    with pytest.raises(OlderLedgerError, match="another ledger"):
        backup.open()


def test_a_lost_or_damaged_mark_signs_nothing_until_it_was_recovered(backup: Backup) -> None:
    mark = backup.home / "ledger.mark"
    for damage in (None, b"", b"{}", b"[1]", b'{"ledger": "x", "sequence": true}', b"\xff"):
        with backup.open() as ca:
            serial = ca.issue("orders").leaf.serial_number
            ca.revoke(serial)
        seen = backup.published()
        if damage is None:
            mark.unlink()
        else:
            mark.write_bytes(damage)
        with pytest.raises(OlderLedgerError):
            backup.open()
        backup.recover()
        with backup.open() as ca:
            record = ca.certificate(serial)
            assert record is not None
            assert record.revoked_at is not None
            assert seen.merge_newer(ca.trust()[1])[1] == ()


def test_recovery_of_the_newest_ledger_changes_nothing(backup: Backup) -> None:
    before = (backup.home / "crl.pem").read_bytes()
    done = Authority.recover(backup.home, clock=backup.clock)
    assert not done.was_older
    assert (backup.home / "crl.pem").read_bytes() == before
    with backup.open() as ca:
        assert ca.events() == ()


def test_another_cas_ledger_is_not_accepted(backup: Backup, tmp_path: Path) -> None:
    with make_authority(tmp_path / "other", backup.clock):
        pass
    shutil.copy(tmp_path / "other" / "ca" / "ledger.db", backup.home / "ledger.db")
    with pytest.raises(OlderLedgerError, match="another ledger"):
        backup.open()
    with pytest.raises(StateError, match="belongs to another CA"):
        backup.recover()


def test_distrust_stays_after_recovery_with_the_roots_key_away(backup: Backup) -> None:
    (backup.home / "root.key.pem").unlink()
    with backup.open() as ca:
        key_id = ca.issuers()[1].key_id
        ca.distrust(key_id)
    backup.put_back()
    backup.recover()
    with backup.open() as ca:
        assert ca.issuers()[1].status.value == "distrusted"
        assert refused(ca, backup.orders.credential)
        with pytest.raises(StateError, match="distrusted"):
            ca.issue("orders")


def test_an_issuing_ca_can_still_be_distrusted_after_a_recovery_without_the_roots_key(
    backup: Backup,
) -> None:
    with backup.open() as ca:
        ca.revoke(backup.orders.leaf.serial_number)
    backup.put_back()
    (backup.home / "root.key.pem").unlink()
    backup.recover()
    with backup.open() as ca:
        ca.distrust(ca.issuers()[1].key_id)
        assert refused(ca, backup.orders.credential)


def test_a_certificate_that_the_copy_does_not_hold_can_be_revoked_by_its_serial_number(
    backup: Backup,
) -> None:
    with backup.open() as ca:
        lost = ca.issue("payments")
    backup.put_back()
    backup.recover()
    with backup.open() as ca:
        assert not refused(ca, lost.credential)
        assert ca.revoke(lost.leaf.serial_number) == ()
        assert refused(ca, lost.credential)
        backup.clock.move(hours=25)
        with pytest.raises(StateError.__mro__[1], match="issued no certificate"):
            ca.revoke(0xABCDEF)


def test_a_whole_folder_that_is_older_takes_in_what_receivers_hold(backup: Backup) -> None:
    with backup.open() as ca:
        payments = ca.issue("payments")
        ca.revoke(payments.leaf.serial_number)
        ca.revoke(backup.orders.leaf.serial_number)
        held = ca.trust()[1]
    backup.put_whole_folder_back()
    with backup.open() as ca:
        assert ca.import_crls(held)
        assert not ca.import_crls(held)
        assert refused(ca, backup.orders.credential)
        assert refused(ca, payments.credential)
        assert held.merge_newer(ca.trust()[1])[1] == ()
        with pytest.raises(NotPermittedError, match="revoked"):
            ca.renew(backup.orders.leaf)
        (event,) = ca.events()
        assert event[1] == "published-crl-ahead"


def test_a_published_list_that_is_ahead_is_taken_in_at_the_opening(backup: Backup) -> None:
    with backup.open() as ca:
        ca.revoke(backup.orders.leaf.serial_number)
    ahead = (backup.home / "crl.pem").read_bytes()
    backup.put_whole_folder_back()
    (backup.home / "crl.pem").write_bytes(ahead)
    with backup.open() as ca:
        assert (backup.home / "crl.pem").read_bytes() == ahead
        record = ca.certificate(backup.orders.leaf.serial_number)
        assert record is not None
        assert record.revoked_at is not None


def test_lists_that_nobody_of_ours_signed_are_not_taken_in(backup: Backup, tmp_path: Path) -> None:
    with make_authority(tmp_path / "other", backup.clock) as other:
        other.revoke(other.issue("orders").leaf.serial_number)
        foreign = other.trust()[1]
    with backup.open() as ca:
        assert not ca.import_crls(foreign)
        assert ca.events() == ()


def test_an_older_list_of_ours_at_a_receiver_is_nothing_new(backup: Backup) -> None:
    old = backup.published()
    with backup.open() as ca:
        ca.revoke(backup.orders.leaf.serial_number)
        backup.clock.move(days=10)
        ca.refresh_crls(force=True)  # the entry has left the list
        assert not ca.import_crls(old)


def test_a_ledger_with_fewer_commits_and_another_history_takes_both_sides_revocations(
    backup: Backup,
) -> None:
    with backup.open() as ca:
        payments = ca.issue("payments")
        ca.revoke(payments.leaf.serial_number)
        held = ca.trust()[1]
    backup.put_whole_folder_back()
    with backup.open() as ca:
        web = ca.issue("web")
        ca.revoke(web.leaf.serial_number)  # under the number that the other list has
        ca.import_crls(held)
        assert refused(ca, payments.credential)
        assert refused(ca, web.credential)
        found = held.merge_newer(ca.trust()[1])[0].crl_for(web.leaf)
        assert found is not None
        assert {web.leaf.serial_number, payments.leaf.serial_number} <= found.revoked


def test_the_mark_is_never_ahead_of_the_ledger_when_a_commit_fails(backup: Backup) -> None:
    mark = backup.home / "ledger.mark"
    before = mark.read_bytes()
    with backup.open() as ca:
        connection = sqlite3.connect(backup.home / "ledger.db")
        connection.execute(
            "CREATE TRIGGER no BEFORE INSERT ON certificates BEGIN SELECT RAISE(ABORT, 'x'); END"
        )
        connection.close()
        with pytest.raises(StateError):
            ca.issue("payments")
    assert mark.read_bytes() == before


def test_a_mark_that_could_not_be_written_is_brought_up_at_the_next_operation(
    backup: Backup,
) -> None:
    mark = backup.home / "ledger.mark"
    old = mark.read_bytes()
    with backup.open() as ca:
        ca.issue("payments")
    newest = mark.read_bytes()
    assert newest != old
    mark.write_bytes(old)
    with backup.open():
        assert mark.read_bytes() == newest
