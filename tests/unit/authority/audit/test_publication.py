"""The checkpoint beside the trust bundle, and the key that signs it."""

from __future__ import annotations

import logging
import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pki.authority import Authority
from pki.authority.directory import AuthorityDirectory
from pki.errors import OlderLedgerError
from pki.transparency import (
    Checkpoint,
    InclusionProofFile,
    Witness,
    consistency_proof,
    open_checkpoint,
)
from tests.older_ledger import make_older
from tests.support import Clock, make_authority
from tests.unit.authority.audit.logged import (
    ORIGIN,
    actions,
    entries,
    kinds,
    published,
    rewriting,
    verifier_key,
)


def size_of(home: Path) -> int:
    return open_checkpoint(published(home), [verifier_key(home)]).checkpoint.size


def older(home: Path) -> None:
    """Make the ledger one of a handfast without an audit log."""
    make_older(home, "0002")
    for name in ("audit.key.pem", "audit.checkpoint", "audit.vkey"):
        (home / name).unlink()


def test_each_commit_publishes_a_checkpoint_that_extends_the_one_before(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    with make_authority(tmp_path) as ca:
        witness = Witness(verifier_key(home))
        for step in (ca.trust, lambda: ca.issue("orders"), ca.rotate):
            step()
            with ca._context.ledger.snapshot() as transaction:
                size = transaction.audit.head().size
                proof = consistency_proof(transaction.audit, old_size=witness.size, new_size=size)
            witness = witness.accept(published(home), proof)
            assert witness.size == size == len(entries(ca))
    assert size_of(home) == 6
    assert stat.S_IMODE((home / "audit.checkpoint").stat().st_mode) == 0o644
    assert stat.S_IMODE((home / "audit.key.pem").stat().st_mode) == 0o600


def test_a_crash_between_commit_and_checkpoint_is_repaired_at_the_next_opening(
    tmp_path: Path,
) -> None:
    home = tmp_path / "ca"
    with make_authority(tmp_path) as ca:
        before = published(home)
        ca.issue("orders")
    (home / "audit.checkpoint").write_bytes(before)
    with Authority.open(home, clock=Clock(), read_only=True) as ca:
        assert any("1 entries behind" in note for note in ca.verify_audit_log().notes)
        assert kinds(ca) == set()
    Authority.open(home, clock=Clock()).close()
    assert size_of(home) == 4


@pytest.mark.parametrize("damage", [b"", b"x" * 300_000, b"not a note\n"])
def test_a_damaged_checkpoint_is_written_anew(tmp_path: Path, damage: bytes) -> None:
    home = tmp_path / "ca"
    make_authority(tmp_path).close()
    (home / "audit.checkpoint").write_bytes(damage)
    (home / "audit.vkey").unlink()
    Authority.open(home, clock=Clock()).close()
    assert size_of(home) == 3


def test_the_checkpoint_of_a_stranger_is_overwritten_however_large(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    make_authority(tmp_path).close()
    forged = Checkpoint(ORIGIN, 1000, bytes(32)).sign(Ed25519PrivateKey.generate())
    (home / "audit.checkpoint").write_bytes(forged.to_bytes())
    Authority.open(home, clock=Clock()).close()
    assert size_of(home) == 3


def test_a_later_checkpoint_of_another_process_is_not_replaced(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    with make_authority(tmp_path) as ca, Authority.open(home, clock=Clock()) as other:
        with ca._context.ledger.snapshot() as transaction:
            earlier = transaction.audit.head()
        other.issue("orders")
        # The first process wakes up only now, between its commit and its checkpoint.
        ca._context.publication.after_entries(earlier)
        assert size_of(home) == 4


def test_a_lost_log_key_holds_up_nothing_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "ca"
    make_authority(tmp_path).close()
    (home / "audit.key.pem").unlink()
    with caplog.at_level(logging.WARNING), Authority.open(home, clock=Clock()) as ca:
        leaf = ca.issue("orders").leaf
        ca.revoke(leaf.serial_number)
        assert actions(ca)[-2:] == ["issue", "revoke"]
        assert kinds(ca) == set()
    logged = [item for item in caplog.records if item.name == "pki.authority.audit.publication"]
    assert "the audit log's key is not at" in logged[0].getMessage()
    assert size_of(home) == 3
    assert not (home / "audit.key.pem").exists()


def test_a_swapped_log_key_signs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_authority(tmp_path / "other").close()
    make_authority(tmp_path).close()
    home = tmp_path / "ca"
    shutil.copy(tmp_path / "other" / "ca" / "audit.key.pem", home)
    with Authority.open(home, clock=Clock()) as ca:
        ca.issue("orders")
    assert size_of(home) == 3
    assert "is not the audit log's key that the ledger names" in caplog.text


def test_the_log_key_is_encrypted_as_the_others_are(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    Authority.create(home, "shop.internal", passphrase=b"secret", clock=Clock()).close()
    pem = (home / "audit.key.pem").read_bytes()
    assert b"ENCRYPTED" in pem
    assert isinstance(load_pem_private_key(pem, b"secret"), Ed25519PrivateKey)


@pytest.mark.sqlite
def test_an_interrupted_set_up_uses_the_key_that_it_left(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    make_authority(tmp_path).close()
    key = (home / "audit.key.pem").read_bytes()
    for path in list(home.iterdir()):
        if path.name != "audit.key.pem":
            path.unlink()
    # The ledger was made, and not committed to.

    AuthorityDirectory(home).home.create().close()
    with make_authority(tmp_path) as ca:
        ca.issue("orders")
    assert (home / "audit.key.pem").read_bytes() == key
    assert size_of(home) == 4


@pytest.mark.sqlite
def test_a_ledger_that_is_older_than_the_log_gets_one_with_its_history(tmp_path: Path) -> None:
    home, clock = tmp_path / "ca", Clock()
    with make_authority(tmp_path, clock) as ca:
        orders, payments = ca.issue("orders").leaf, ca.issue("payments").leaf
        billing = ca.issue("billing").leaf
        old = ca.issuers()[1].key_id
        ca.revoke(orders.serial_number)
    older(home)
    with Authority.open(home, clock=clock) as ca:
        begin, log_key = entries(ca)
        assert (begin.action, log_key.action) == ("begin", "log-key")
        assert begin.details["certificates"] == 3
        assert begin.at == ca.now()
        assert kinds(ca) == set()
        # What is revoked, renewed and distrusted later does not touch the hash of then.
        ca.revoke(payments.serial_number)
        ca.renew(billing)
        ca.rotate()
        ca.distrust(old)
        ca.issue("search")
        assert kinds(ca) == set()
    assert size_of(home) == 8


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE certificates SET revoked_at = NULL, reason = NULL WHERE id = 1",
        "UPDATE certificates SET revoked_at = 1, reason = 'superseded' WHERE id = 2",
        "UPDATE certificates SET spiffe_id = 'spiffe://shop.internal/x' WHERE id = 2",
        "DELETE FROM certificates WHERE id = 2",
        "UPDATE issuers SET status = 'distrusted' WHERE kind = 'issuing'",
        "INSERT INTO unrecorded_revocations VALUES (2, 'abc', 1, 'unspecified')",
    ],
)
def test_what_is_older_than_the_log_can_not_be_changed_unseen(
    tmp_path: Path, statement: str
) -> None:
    home = tmp_path / "ca"
    with make_authority(tmp_path) as ca:
        orders = ca.issue("orders").leaf
        ca.issue("payments")
        ca.revoke(orders.serial_number)
    older(home)
    Authority.open(home, clock=Clock()).close()
    with rewriting(home) as connection:
        connection.execute(statement)
    with Authority.open(home, clock=Clock(), read_only=True) as ca:
        assert "history" in kinds(ca)


@pytest.mark.sqlite
def test_a_migrated_log_begins_before_the_first_decision_though_it_has_no_key_yet(
    tmp_path: Path,
) -> None:
    home = tmp_path / "ca"
    with make_authority(tmp_path) as ca:
        ca.issue("orders")
    older(home)
    # Opened for reading, which publishes nothing and makes no key.
    with Authority.open(home, clock=Clock(), read_only=True) as ca:
        assert actions(ca) == ["begin"]
        ca.issue("payments")
        assert actions(ca) == ["begin", "issue"]
        result = ca.verify_audit_log()
    assert result.findings == ()
    assert any("no key yet" in note for note in result.notes)


@pytest.mark.sqlite
def test_a_missing_passphrase_leaves_an_older_ca_without_a_log_key_and_never_with_an_open_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "ca"
    Authority.create(home, "shop.internal", passphrase=b"secret", clock=Clock()).close()
    older(home)
    Authority.open(home, clock=Clock()).close()
    assert not (home / "audit.key.pem").exists()
    assert "the audit log has no key yet" in caplog.text
    with Authority.open(home, clock=Clock(), passphrase=b"secret") as ca:
        assert actions(ca) == ["begin", "log-key"]
    assert b"ENCRYPTED" in (home / "audit.key.pem").read_bytes()
    assert size_of(home) == 2


@pytest.mark.sqlite
def test_a_recovered_ca_tells_its_witnesses_why_their_checkpoint_is_not_extended(
    tmp_path: Path,
) -> None:
    home, clock = tmp_path / "ca", Clock()
    with make_authority(tmp_path, clock):
        pass
    shutil.copy(home / "ledger.db", tmp_path / "copy.db")
    shutil.copy(home / "ledger.mark", tmp_path / "copy.mark")
    with Authority.open(home, clock=clock) as ca:
        for name in ("orders", "payments", "billing"):
            ca.issue(name)
    kept = published(home)
    # Ledger and mark are put back, but not what was published.
    shutil.copy(tmp_path / "copy.db", home / "ledger.db")
    shutil.copy(tmp_path / "copy.mark", home / "ledger.mark")
    with pytest.raises(OlderLedgerError, match="3 entries, and 6 were published"):
        Authority.open(home, clock=clock)
    recovered = Authority.recover(home, clock=clock)
    assert (recovered.was_older, recovered.lost_commits) == (True, None)
    assert (home / "audit.lost-6.checkpoint").read_bytes() == kept
    with Authority.open(home, clock=clock) as ca:
        entry = entries(ca)[3]
        assert entry.action == "recover"
        assert entry.details["lost_log_size"] == 6
        ca.issue("orders")
        assert kinds(ca) == set()
        assert kinds(ca, kept) == {"rewritten"}
        assert any("entry 3" in note for note in ca.verify_audit_log([("kept", kept)]).notes)
    assert size_of(home) == 5


@pytest.mark.sqlite
def test_a_ca_without_its_log_key_recovers_too(tmp_path: Path) -> None:
    home, clock = tmp_path / "ca", Clock()
    make_authority(tmp_path, clock).close()
    shutil.copy(home / "ledger.db", tmp_path / "copy.db")
    with Authority.open(home, clock=clock) as ca:
        ca.issue("orders")
    shutil.copy(tmp_path / "copy.db", home / "ledger.db")
    (home / "audit.key.pem").unlink()
    Authority.recover(home, clock=clock)
    with Authority.open(home, clock=clock) as ca:
        ca.issue("payments")
        assert kinds(ca) == set()
    assert not (home / "audit.checkpoint").exists()


def test_a_proof_of_each_entry_verifies_with_the_published_key(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    with make_authority(tmp_path) as ca:
        leaf = ca.issue("orders").leaf
        ca.revoke(leaf.serial_number)
        for index, entry in ca.audit_entries():
            data = ca.prove_audit_entry(index=index).to_bytes()
            proof = InclusionProofFile.parse(data)
            text = entry.to_text().encode()
            assert proof.extra == text
            proof.verify(text, [verifier_key(home)])
        by_serial = ca.prove_audit_entry(serial=f"{leaf.serial_number:x}")
        assert by_serial.index == 3
