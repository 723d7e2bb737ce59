"""What the tests of the audit log share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pki.authority import Authority
from pki.authority.ledger.audit import Actor, AuditAction, AuditEntry
from pki.transparency import Checkpoint, VerifierKey, root_of
from pki.transparency.merkle import leaf_hash
from tests.support import NOW

ORIGIN = "shop.internal/handfast/audit"


def entries(ca: Authority) -> list[AuditEntry]:
    return [entry for _, entry in ca.audit_entries()]


def actions(ca: Authority) -> list[str]:
    return [entry.action.value for entry in entries(ca)]


def kinds(ca: Authority, *against: bytes) -> set[str]:
    """Return the kinds of what the verification finds."""
    result = ca.verify_audit_log([("an older checkpoint", item) for item in against])
    return {item.kind for item in result.findings}


def published(home: Path) -> bytes:
    return (home / "audit.checkpoint").read_bytes()


def verifier_key(home: Path) -> VerifierKey:
    return VerifierKey.parse((home / "audit.vkey").read_text().strip())


def add_entries(ca: Authority, count: int) -> None:
    """Append many entries in one transaction."""
    with ca._context.ledger.transaction() as transaction:
        for number in range(count):
            transaction.audit.append(
                AuditEntry(AuditAction.REFUSE, NOW, Actor("stranger"), reason=f"no {number}")
            )


@contextmanager
def rewriting(home: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger as somebody who can write to the file, past the triggers."""
    with closing(sqlite3.connect(home / "ledger.db")) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        connection.commit()


def rebuild_tree(home: Path, connection: sqlite3.Connection) -> bytes:
    """Make the stored tree that of the entries, and return a checkpoint by the stolen log key."""
    from pki.transparency import CompactRange  # noqa: PLC0415 - for this alone

    rows = connection.execute("SELECT position, entry FROM audit_entries ORDER BY position")
    leaves = [leaf_hash(entry.encode()) for _, entry in rows]
    tree = CompactRange()
    connection.execute("DELETE FROM audit_tiles")
    for index, leaf in enumerate(leaves):
        tree, completed = tree.append(leaf)
        if len(completed) > 8:
            connection.execute(
                "INSERT INTO audit_tiles VALUES (1, ?, ?)", (index >> 8, completed[8])
            )
    connection.execute("UPDATE audit_log SET size = ?, edge = ?", (tree.size, tree.to_bytes()))
    key = load_pem_private_key((home / "audit.key.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return Checkpoint(ORIGIN, tree.size, root_of(leaves)).sign(key).to_bytes()
