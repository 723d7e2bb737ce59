"""Somebody who can write to the ledger's file rewrites history, and is caught."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.errors import OlderLedgerError
from pki.transparency import ForkError, StepBackError, Witness, consistency_proof
from tests.support import Clock, make_authority
from tests.unit.authority.audit.logged import (
    add_entries,
    kinds,
    published,
    rebuild_tree,
    rewriting,
    verifier_key,
)

pytestmark = pytest.mark.sqlite


class Used:
    """A CA with a history, a checkpoint that was kept elsewhere, and a witness."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.home = folder / "ca"
        with make_authority(folder, self.clock) as ca:
            self.orders = f"{ca.issue('orders').leaf.serial_number:x}"
            self.payments = f"{ca.issue('payments').leaf.serial_number:x}"
            ca.revoke(self.payments)
        self.kept = published(self.home)
        self.witness = Witness(verifier_key(self.home)).accept(self.kept, ())
        with self.open() as ca:
            ca.issue("billing")
            assert kinds(ca, self.kept) == set()

    def open(self) -> Authority:
        return Authority.open(self.home, clock=self.clock, read_only=True)

    def found(self, *against: bytes) -> set[str]:
        with self.open() as ca:
            return kinds(ca, *against)

    def shown_to_witness(self) -> Witness:
        with self.open() as ca, ca._context.ledger.snapshot() as transaction:
            size = transaction.audit.head().size
            proof = consistency_proof(
                transaction.audit, old_size=min(self.witness.size, size), new_size=size
            )
        return self.witness.accept(published(self.home), proof)


@pytest.fixture
def used(tmp_path: Path) -> Used:
    return Used(tmp_path)


def test_a_log_that_nobody_touched_convinces_everybody(used: Used) -> None:
    assert used.found(used.kept) == set()
    assert used.shown_to_witness().size == 7


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET entry = replace(entry, 'orders', 'ORDERS') WHERE position = 3",
        "UPDATE audit_entries SET position = position + 100",
        "DELETE FROM audit_entries WHERE position = 3",
        "UPDATE audit_tiles SET hash = x'00' WHERE level = 1",
        "UPDATE audit_log SET size = size - 1",
    ],
)
def test_sqlite_refuses_to_change_the_log_by_mistake(used: Used, statement: str) -> None:
    with used.open() as ca:
        add_entries(ca, 300)
    connection = sqlite3.connect(used.home / "ledger.db")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (
            "UPDATE audit_entries SET entry = replace(entry, '/orders', '/others') "
            "WHERE position = 3",
            "tree",
        ),
        ("UPDATE audit_entries SET entry = entry || ' ' WHERE position = 3", "entry"),
        ("UPDATE audit_entries SET entry = '[' WHERE position = 3", "entry"),
        ("UPDATE audit_entries SET serial = 'abc' WHERE position = 3", "entry"),
        ("DELETE FROM audit_entries WHERE position = 3", "gap"),
        ("DELETE FROM audit_entries WHERE position = 6", "tree"),
        ("DELETE FROM audit_entries", "tree"),
        ("UPDATE audit_log SET size = 6", "tree"),
        ("UPDATE audit_log SET edge = x'00'", "tree"),
        ("UPDATE audit_log SET size = 0, edge = x''", "tree"),
        ("UPDATE audit_log SET verifier_key = 'x+00000000+AA=='", "checkpoint"),
        ("UPDATE audit_log SET verifier_key = NULL", "key"),
    ],
)
def test_a_changed_log_is_found(used: Used, statement: str, kind: str) -> None:
    with rewriting(used.home) as connection:
        connection.execute(statement)
    assert kind in used.found()


def test_a_changed_entry_in_a_full_tile_is_named_by_its_tile(used: Used) -> None:
    with used.open() as ca:
        add_entries(ca, 300)
    with rewriting(used.home) as connection:
        connection.execute(
            "UPDATE audit_entries SET entry = replace(entry, 'no 9', 'no 8') WHERE position = 16"
        )
    with used.open() as ca:
        texts = [item.text for item in ca.verify_audit_log().findings]
    assert "one of the entries 0 to 255 was changed" in texts


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (
            "UPDATE certificates SET spiffe_id = 'spiffe://shop.internal/x' WHERE id = 1",
            "certificate",
        ),
        ("UPDATE certificates SET certificate = x'3000' WHERE id = 1", "certificate"),
        ("UPDATE certificates SET not_after = not_after + 1 WHERE id = 1", "certificate"),
        ("UPDATE certificates SET not_before = not_before - 1 WHERE id = 1", "certificate"),
        ("UPDATE certificates SET issued_at = issued_at - 1 WHERE id = 1", "certificate"),
        ("UPDATE certificates SET profile = 'server' WHERE id = 1", "certificate"),
        ("UPDATE certificates SET key_fingerprint = 'ab' WHERE id = 1", "certificate"),
        ("UPDATE certificates SET serial = 'abc' WHERE id = 1", "certificate"),
        ("UPDATE certificates SET renewed_from = 1 WHERE id = 3", "certificate"),
        ("DELETE FROM certificates WHERE id = 3", "certificate"),
        (
            "CREATE TEMP TABLE forged AS SELECT * FROM certificates WHERE id = 1;"
            "UPDATE forged SET id = 9, serial = 'abc';"
            "INSERT INTO certificates SELECT * FROM forged",
            "certificate",
        ),
        ("UPDATE certificates SET revoked_at = NULL, reason = NULL", "revocation"),
        ("UPDATE certificates SET revoked_at = revoked_at + 1 WHERE id = 2", "revocation"),
        ("UPDATE certificates SET reason = 'superseded' WHERE id = 2", "revocation"),
        (
            "UPDATE certificates SET revoked_at = issued_at, reason = 'unspecified' WHERE id = 1",
            "revocation",
        ),
        ("INSERT INTO unrecorded_revocations VALUES (2, 'abc', 1, 'unspecified')", "revocation"),
        ("UPDATE issuers SET status = 'distrusted' WHERE kind = 'issuing'", "distrust"),
        ("UPDATE issuers SET status = 'superseded' WHERE kind = 'issuing'", "issuer"),
        ("UPDATE issuers SET certificate = (SELECT certificate FROM certificates)", "issuer"),
    ],
)
def test_a_changed_row_is_found(used: Used, statement: str, kind: str) -> None:
    with rewriting(used.home) as connection:
        connection.executescript(statement)
    assert kind in used.found()


def test_one_who_has_the_log_key_too_can_change_an_entry_but_not_what_others_kept(
    used: Used,
) -> None:
    with rewriting(used.home) as connection:
        for table, column in (("audit_entries", "entry"), ("certificates", "spiffe_id")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, '/orders', '/x')")
        forged = rebuild_tree(used.home, connection)
    (used.home / "audit.checkpoint").write_bytes(forged)
    # Log, rows and signature agree with each other ...
    assert used.found() == set()
    # ... and not with the checkpoint that was kept elsewhere, nor with what a witness saw.
    assert used.found(used.kept) == {"rewritten"}
    with pytest.raises(ForkError):
        used.shown_to_witness()


def test_the_last_entries_removed_and_signed_again_are_missed_by_others(used: Used) -> None:
    with rewriting(used.home) as connection:
        connection.execute("DELETE FROM audit_entries WHERE position >= 5")
        connection.execute("DELETE FROM certificates WHERE id = 3")
        connection.execute("UPDATE certificates SET revoked_at = NULL, reason = NULL")
        forged = rebuild_tree(used.home, connection)
    before = published(used.home)
    # With the old checkpoint in place, the CA does not even open.
    with pytest.raises(OlderLedgerError, match="5 entries, and 7 were published"):
        Authority.open(used.home, clock=used.clock)
    assert used.found() == {"rewritten"}
    assert published(used.home) == before
    (used.home / "audit.checkpoint").write_bytes(forged)
    assert used.found() == set()
    assert used.found(used.kept) == {"rewritten"}
    with pytest.raises(StepBackError):
        used.shown_to_witness()


def test_a_ca_whose_history_was_replaced_does_not_open(used: Used) -> None:
    with rewriting(used.home) as connection:
        connection.execute("UPDATE audit_entries SET entry = replace(entry, '/orders', '/x')")
        rebuild_tree(used.home, connection)
    with pytest.raises(OlderLedgerError, match="are not those that were published") as caught:
        Authority.open(used.home, clock=used.clock)
    assert "handfast audit verify" in caught.value.remedy


def test_a_checkpoint_by_another_key_is_found(used: Used, tmp_path: Path) -> None:
    with make_authority(tmp_path / "other") as other:
        other.issue("orders")
    stranger = published(tmp_path / "other" / "ca")
    assert used.found(stranger) == {"checkpoint"}
    with used.open() as ca:
        other_key = str(verifier_key(tmp_path / "other" / "ca"))
        result = ca.verify_audit_log(verifier_key=other_key)
    assert {item.kind for item in result.findings} == {"key", "checkpoint"}


@pytest.fixture(autouse=True)
def no_write_ahead_log(used: Used) -> None:
    # The CA is closed whenever somebody else writes, so the file holds everything.
    assert not (used.home / "ledger.db-wal").exists()
