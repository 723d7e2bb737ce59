"""Make inclusion and consistency proofs from the hashes that a log's tiles hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pki.transparency.errors import TransparencyFormatError
from pki.transparency.merkle import EMPTY_ROOT, node_hash
from pki.transparency.tiles import TILE_HEIGHT


class TileHashes(Protocol):
    """What proofs are made from: the hashes of a log's tiles."""

    def hashes(self, level: int, start: int, end: int) -> Sequence[bytes]:
        """Return the hashes of a level of tiles, from ``start`` to before ``end``."""
        ...  # pragma: no cover - a protocol has no code


def tree_root(tiles: TileHashes, size: int) -> bytes:
    """Return the root hash of the log when it had this many entries."""
    return _range_root(tiles, 0, size) if size else EMPTY_ROOT


def inclusion_proof(tiles: TileHashes, *, index: int, size: int) -> tuple[bytes, ...]:
    """Return the proof that the tree of this size holds the entry with this index.

    Raises:
        TransparencyFormatError: if it can't, because the index is not below the size.
    """
    if not 0 <= index < size:
        raise TransparencyFormatError(f"a tree of {size} entries has no entry {index}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = _split(start, end)
        if index < middle:
            proof.append(_range_root(tiles, middle, end))
            end = middle
        else:
            proof.append(_range_root(tiles, start, middle))
            start = middle
    return tuple(reversed(proof))


def consistency_proof(tiles: TileHashes, *, old_size: int, new_size: int) -> tuple[bytes, ...]:
    """Return the proof that the tree of the new size extends the tree of the old size.

    Raises:
        TransparencyFormatError: if the old size is the larger one.
    """
    if not 0 <= old_size <= new_size:
        raise TransparencyFormatError(f"a tree of {new_size} entries extends none of {old_size}")
    if old_size in {0, new_size}:
        return ()
    proof: list[bytes] = []
    start, end = 0, new_size
    # RFC 6962 §2.1.2: the way down to where the older tree ends. A subtree with which it ends is
    # left out only if it is the whole older tree, whose root the verifier has.
    while end != old_size:
        middle = _split(start, end)
        if old_size <= middle:
            proof.append(_range_root(tiles, middle, end))
            end = middle
        else:
            proof.append(_range_root(tiles, start, middle))
            start = middle
    if start:
        proof.append(_range_root(tiles, start, end))
    return tuple(reversed(proof))


def _split(start: int, end: int) -> int:
    """Return where the right subtree of a range begins."""
    return start + (1 << ((end - start - 1).bit_length() - 1))


def _range_root(tiles: TileHashes, start: int, end: int) -> bytes:
    """Return the root of a range that is a subtree of some tree: its start is aligned."""
    width = end - start
    if width & (width - 1) == 0:
        return _complete_root(tiles, width.bit_length() - 1, start // width)
    middle = _split(start, end)
    return node_hash(_range_root(tiles, start, middle), _range_root(tiles, middle, end))


def _complete_root(tiles: TileHashes, height: int, index: int) -> bytes:
    """Return the root of a complete subtree, from the nearest level of tiles below it."""
    level, above = divmod(height, TILE_HEIGHT)
    hashes = list(tiles.hashes(level, index << above, (index + 1) << above))
    if len(hashes) != 1 << above:
        raise TransparencyFormatError(
            f"level {level} of the log lacks hashes from {index << above} on"
        )
    while len(hashes) > 1:
        hashes = [node_hash(*hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
    return hashes[0]
