"""The audit log within a transaction: what a decision changes and its entry are one commit.

The tree is never computed anew to append to it. Its right edge lies in one row, and grows with each
entry; the root of each full tile is kept, so that a proof reads a few hundred hashes at most. What
is kept beside the entries is a help only: ``handfast audit verify`` computes all of it from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from pki.authority.ledger import tables
from pki.authority.ledger.audit.entry import Actor, AuditAction, AuditEntry
from pki.authority.ledger.audit.history import read_history
from pki.authority.ledger.batching.connection import LedgerConnection
from pki.authority.ledger.batching.inserts import Inserts
from pki.authority.ledger.rows import in_parts
from pki.errors import InputError, LedgerError
from pki.transparency import (
    CompactRange,
    Tile,
    TransparencyFormatError,
    encode_bundle,
    leaf_hash,
)
from pki.transparency.tiles import TILE_HEIGHT, TILE_WIDTH

_READ_AT_ONCE = 1000
# Made once: each decision runs them.
_SELECT_LOG = select(tables.audit_log)
_UPDATE_LOG = update(tables.audit_log).values(size=bindparam("size"), edge=bindparam("edge"))
_ENTRIES = Inserts(tables.audit_entries, ("position", "entry", "serial"), rank=0)
_TILES = Inserts(tables.audit_tiles, ("level", "position", "hash"), rank=0)


_Mark = tuple[CompactRange | None, bool]


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The state of the log.

    Args:
        size: how many entries it has.
        root: the root hash of its tree.
        verifier_key: the log's public key as a vkey; None if it has none yet.
    """

    size: int
    root: bytes
    verifier_key: str | None


class AuditLog:
    """The part of a transaction for the audit log; it is a source of hashes for proofs."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection
        self._tree: CompactRange | None = None
        self._verifier_key: str | None = None
        self._is_behind = False  # the row of the log is behind its entries
        self.changed = False

    def flush(self) -> None:
        """Write the log's size and edge, once for all that was appended; before the commit."""
        if self._is_behind and self._tree is not None:
            tree = self._tree
            self._connection.execute(_UPDATE_LOG, {"size": tree.size, "edge": tree.to_bytes()})
            self._is_behind = False

    def append(self, entry: AuditEntry) -> int:
        """Append an entry; return its index. It is in the log once the transaction commits.

        Raises:
            InputError: if the entry is too large; then the operation must not be done either.
        """
        tree, text = self._edge(), entry.to_text()
        self._connection.add(_ENTRIES, (tree.size, text, entry.serial))
        longer, completed = tree.append(leaf_hash(text.encode()))
        for height in range(TILE_HEIGHT, len(completed), TILE_HEIGHT):
            level, position = height // TILE_HEIGHT, tree.size >> height
            self._connection.add(_TILES, (level, position, completed[height]))
        self._tree = longer
        self.changed = self._is_behind = True
        return tree.size

    def mark(self) -> _Mark:
        """Return what :meth:`back_to` needs if what is appended from now on is undone."""
        return self._tree, self.changed

    def back_to(self, mark: _Mark) -> None:
        """Forget what was appended since, after the connection has undone it."""
        self._tree, self.changed = mark

    def begin(self, *, at: datetime, actor: Actor) -> None:
        """Begin the log in a ledger that is older than it, with an entry about what it holds.

        Called before the ledger is used, because the entry is about what was there before. A log
        that has entries is left as it is.

        Args:
            at: the time.
            actor: who opens the ledger.
        """
        # Neither by its entries nor by its size alone: one of them may have been removed, and then
        # the log must be left as it is, for who verifies it.
        first = self._connection.scalar(select(tables.audit_entries.c.position).limit(1))
        if first is None and not self._connection.scalar(select(tables.audit_log.c.size)):
            details = read_history(self._connection.plain()).to_details()
            self.append(AuditEntry(AuditAction.BEGIN, at, actor, details=details))

    def head(self) -> AuditHead:
        """Return the state of the log."""
        tree = self._edge()
        return AuditHead(tree.size, tree.root(), self._verifier_key)

    def verifier_key(self) -> str | None:
        """Return the log's public key as a vkey; None if it has none yet."""
        # Not by way of the tree, which may be damaged.
        if self._verifier_key is None:
            self._verifier_key = self._connection.execute(_SELECT_LOG).one().verifier_key
        return self._verifier_key

    def set_verifier_key(self, key: str) -> None:
        """Record the log's public key."""
        self._edge()
        self._connection.execute(update(tables.audit_log).values(verifier_key=key))
        self._verifier_key = key
        self.changed = True

    def entries(self) -> Iterator[tuple[int, str, str | None]]:
        """Yield the entries as they are stored: index, text, and the serial number to search by."""
        table = tables.audit_entries
        query = select(table).order_by(table.c.position)
        for row in in_parts(self._connection.plain(), query, _READ_AT_ONCE):
            yield row.position, row.entry, row.serial

    def entry(self, index: int) -> str | None:
        """Return an entry as it is stored; None if there is none with this index."""
        table = tables.audit_entries
        text: str | None = self._connection.scalar(
            select(table.c.entry).where(table.c.position == index)
        )
        return text

    def entries_about(self, serial: str) -> tuple[tuple[int, str], ...]:
        """Return the entries about the certificate with a serial number, each with its index."""
        table = tables.audit_entries
        rows = self._connection.execute(
            select(table.c.position, table.c.entry)
            .where(table.c.serial == serial)
            .order_by(table.c.position)
        )
        return tuple((row.position, row.entry) for row in rows)

    def hashes(self, level: int, start: int, end: int) -> Sequence[bytes]:
        """Return the hashes of a level of tiles, from ``start`` to before ``end``."""
        if level == 0:
            table = tables.audit_entries
            texts = self._connection.scalars(
                select(table.c.entry)
                .where(table.c.position >= start, table.c.position < end)
                .order_by(table.c.position)
            )
            return [leaf_hash(text.encode()) for text in texts]
        tiles = tables.audit_tiles
        return list(
            self._connection.scalars(
                select(tiles.c.hash)
                .where(tiles.c.level == level, tiles.c.position >= start, tiles.c.position < end)
                .order_by(tiles.c.position)
            )
        )

    def tile(self, tile: Tile) -> bytes:
        """Return the content of a tile or an entry bundle, as a log serves it (C2SP tlog-tiles).

        Raises:
            InputError: if the log is too short for it.
        """
        start, end = tile.index * TILE_WIDTH, tile.index * TILE_WIDTH + tile.width
        if tile.level is None:
            table = tables.audit_entries
            texts = self._connection.scalars(
                select(table.c.entry)
                .where(table.c.position >= start, table.c.position < end)
                .order_by(table.c.position)
            )
            items = [text.encode() for text in texts]
        else:
            items = list(self.hashes(tile.level, start, end))
        if len(items) != tile.width:
            raise InputError(f"the audit log has no {tile.path} yet")
        return encode_bundle(items) if tile.level is None else b"".join(items)

    @property
    def connection(self) -> Connection:
        """For what compares the log with the ledger's rows, and reads them alone."""
        return self._connection.plain()

    def tile_hashes(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield the stored root of each full tile: its level, its place there, its hash."""
        table = tables.audit_tiles
        for row in self._connection.execute(select(table)):
            yield row.level, row.position, row.hash

    def _edge(self) -> CompactRange:
        if self._tree is None:
            row = self._connection.read(_SELECT_LOG, of=tables.audit_log).one()
            self._verifier_key = row.verifier_key
            try:
                self._tree = CompactRange.of_bytes(row.size, row.edge)
            except TransparencyFormatError as error:
                raise LedgerError(
                    f"the audit log's tree is damaged: {error.message}",
                    remedy="See what was changed: handfast audit verify",
                ) from error
        return self._tree
