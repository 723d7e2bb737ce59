"""Verify the whole log: compute everything from the entries, and trust nothing beside them.

1. The entries are there without a gap, each in its one form, and their tree is the stored one.
2. The published checkpoint, and each one that was kept elsewhere, is signed by the log's key and is
   on the history of these entries.
3. The ledger's rows are those that the entries tell of (``pki.authority.audit.row_checks``).

What this can't see: a history that was rewritten as a whole, with the log's key, where nobody kept
an older checkpoint. That is what witnesses are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pki.authority.audit.findings import LogFinding, VerifiedLog
from pki.authority.audit.row_checks import Decisions, check_rows
from pki.authority.ledger import Transaction
from pki.authority.ledger.audit import AuditAction, AuditEntry, AuditLog
from pki.errors import PkiError
from pki.transparency import (
    Checkpoint,
    CompactRange,
    VerifierKey,
    leaf_hash,
    open_checkpoint,
)
from pki.transparency.origins import sibling_key
from pki.transparency.tiles import TILE_HEIGHT

_MOST_FINDINGS = 1000
_PUBLISHED = "the published checkpoint"


def verify_log(
    transaction: Transaction,
    *,
    published: bytes | None,
    against: Sequence[tuple[str, bytes]] = (),
    verifier_key: str | None = None,
) -> VerifiedLog:
    """Verify the log in a ledger.

    Args:
        transaction: of the ledger.
        published: the checkpoint in the CA's directory; None if there is none.
        against: older checkpoints that were kept elsewhere, each with its name.
        verifier_key: the log's vkey as it was kept elsewhere; None trusts the ledger for it.
    """
    verification = _Verification(transaction.audit, verifier_key)
    verification.take_checkpoints(published, against)
    verification.walk_entries()
    verification.compare_stored_tree()
    verification.compare_checkpoints()
    verification.add(check_rows(transaction.audit.connection, verification.decisions))
    return verification.result()


def _keys_for(note: bytes, key: VerifierKey) -> list[VerifierKey]:
    """Return the keys for a checkpoint, which may be from before a restore."""
    sibling = sibling_key(note, key)
    return [key] if sibling is None else [key, sibling]


class _Verification:
    def __init__(self, log: AuditLog, verifier_key: str | None) -> None:
        self._log = log
        self._findings: list[LogFinding] = []
        self._notes: list[str] = []
        self._tree = CompactRange()
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._checkpoints: list[tuple[str, Checkpoint]] = []
        self._roots: dict[int, bytes] = {}
        self._replaced: dict[object, int] = {}  # origins of before a restore, and their last sizes
        self.decisions = Decisions()
        try:
            head = log.head()
            self._stored = (head.size, head.root)
            self._own_key = head.verifier_key
        except PkiError as error:
            self._stored = (-1, b"")
            self._own_key = log.verifier_key()
            self._find("tree", error.message)
        self._key = verifier_key or self._own_key
        if verifier_key is not None and verifier_key != self._own_key:
            self._find("key", "the log has another key than the one that was given")

    def add(self, findings: Iterator[LogFinding]) -> None:
        """Add findings, up to a bound: a replaced table may give one for each row."""
        for finding in findings:
            if len(self._findings) >= _MOST_FINDINGS:
                self._notes.append(f"there are more than {_MOST_FINDINGS} findings")
                return
            self._findings.append(finding)

    def take_checkpoints(
        self, published: bytes | None, against: Sequence[tuple[str, bytes]]
    ) -> None:
        """Verify the signatures of the checkpoints, and remember which sizes to compare."""
        if self._key is None:
            self._notes.append("the log has no key yet: its checkpoints are not signed")
            return
        if published is None:
            self._notes.append("no checkpoint is published: the next command of the CA does it")
        given = [(_PUBLISHED, published)] if published is not None else []
        for name, data in (*given, *against):
            try:
                signed = open_checkpoint(data, _keys_for(data, VerifierKey.parse(self._key)))
            except PkiError as error:
                self._find("checkpoint", f"{name}: {error.message}")
            else:
                self._checkpoints.append((name, signed.checkpoint))

    def walk_entries(self) -> None:
        """Compute the tree from the entries, and take in what they say."""
        sizes = {checkpoint.size for _, checkpoint in self._checkpoints}
        self._roots[0] = self._tree.root()
        for position, text, serial in self._log.entries():
            index = self._tree.size
            if position != index:
                self._find("gap", f"entry {index} is missing: the next one is {position}")
                return
            self._take_entry(index, text, serial)
            self._tree, completed = self._tree.append(leaf_hash(text.encode()))
            for height in range(TILE_HEIGHT, len(completed), TILE_HEIGHT):
                place = (height // TILE_HEIGHT, index >> height)
                self._tiles[place] = completed[height]
            if self._tree.size in sizes:
                self._roots[self._tree.size] = self._tree.root()

    def compare_stored_tree(self) -> None:
        """Compare the tree of the entries with the one that the ledger keeps beside them."""
        size, root = self._stored
        if size != self._tree.size:
            self._find("tree", f"there are {self._tree.size} entries, and the ledger tells {size}")
        elif root != self._tree.root():
            self._find("tree", "an entry was changed: the stored tree is not that of the entries")
        stored = {(level, index): item for level, index, item in self._log.tile_hashes()}
        for place in sorted(stored.keys() | self._tiles.keys()):
            if stored.get(place) != self._tiles.get(place):
                level, index = place
                first = index << level * TILE_HEIGHT
                last = ((index + 1) << level * TILE_HEIGHT) - 1
                self._find("tile", f"one of the entries {first} to {last} was changed")

    def compare_checkpoints(self) -> None:
        """Compare each checkpoint with the tree of as many entries."""
        for name, checkpoint in self._checkpoints:
            last = self._replaced.get(checkpoint.origin, checkpoint.size)
            if checkpoint.size > last:
                self._find(
                    "lost",
                    f"{name} is of {checkpoint.size} entries of {checkpoint.origin}, and the "
                    f"backup that was restored held {last}: {checkpoint.size - last} decisions are "
                    "missing",
                )
            elif checkpoint.size > self._tree.size:
                self._find(
                    "rewritten",
                    f"{name} is of {checkpoint.size} entries, and the log has {self._tree.size}: "
                    "entries were removed",
                )
            elif self._roots.get(checkpoint.size) != checkpoint.root:
                self._find(
                    "rewritten",
                    f"{name} is of {checkpoint.size} entries, and the first {checkpoint.size} of "
                    "the log are others: history was rewritten",
                )
            elif name == _PUBLISHED and checkpoint.size < self._tree.size:
                self._notes.append(
                    f"{name} is {self._tree.size - checkpoint.size} entries behind: the next "
                    "command of the CA publishes a new one"
                )

    def result(self) -> VerifiedLog:
        """Return what was found."""
        if self.decisions.verifier_key != self._own_key:
            self._find("key", "the ledger names another key of the log than the entries do")
        return VerifiedLog(
            self._tree.size,
            self._tree.root(),
            self._key,
            tuple(self._findings),
            tuple(self._notes),
        )

    def _take_entry(self, index: int, text: str, serial: str | None) -> None:
        try:
            entry = AuditEntry.parse(text)
        except PkiError:
            self._find("entry", f"entry {index} is malformed")
            return
        if index == 0 and entry.action not in {AuditAction.INIT, AuditAction.BEGIN}:
            self._find("entry", "the log does not begin with its first entry")
        if serial != entry.serial:
            self._find("entry", f"entry {index} is found under another serial number")
        if entry.action is AuditAction.RECOVER:
            self._notes.append(
                f"entry {index} of {entry.at:%Y-%m-%d %H:%M:%S} UTC says that an older copy of the "
                "ledger was accepted: older checkpoints may be of entries that were lost"
            )
        if entry.action is AuditAction.RESTORE:
            self._take_restore(index, entry)
        self.add(self.decisions.add(index, entry))

    def _take_restore(self, index: int, entry: AuditEntry) -> None:
        self._notes.append(
            f"entry {index} of {entry.at:%Y-%m-%d %H:%M:%S} UTC says that the CA was restored from "
            f"a backup: the log {entry.details.get('replaces')} may have had more entries"
        )
        self._replaced[entry.details.get("replaces")] = index
        last = (entry.details.get("last_size"), entry.details.get("last_root"))
        if last != (index, self._tree.root().hex()):
            self._find("restore", f"entry {index} names another last checkpoint than the log had")

    def _find(self, kind: str, text: str) -> None:
        self.add(iter([LogFinding(kind, text)]))
