"""The right edge of a Merkle tree: all that is needed to append to it, and to know its root."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pki.transparency.errors import TransparencyFormatError
from pki.transparency.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, node_hash


@dataclass(frozen=True, slots=True)
class CompactRange:
    """A tree as the roots of its complete subtrees: at most one for each bit of its size.

    Args:
        size: how many leaves the tree has.
        hashes: the root of the complete subtree for each 1 in the binary size, largest first.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is one hash for each 1 in the binary size."""
        if not 0 <= self.size <= MAX_SIZE or self.size.bit_count() != len(self.hashes):
            raise TransparencyFormatError(
                f"a tree of {self.size} leaves has no {len(self.hashes)} complete subtrees"
            )
        if any(len(item) != HASH_BYTES for item in self.hashes):
            raise TransparencyFormatError("a hash does not have 32 bytes")

    @classmethod
    def of_bytes(cls, size: int, data: bytes) -> CompactRange:
        """Read the tree of this size from what :meth:`to_bytes` returned.

        Raises:
            TransparencyFormatError: if it is not the edge of a tree of this size.
        """
        if len(data) % HASH_BYTES:
            raise TransparencyFormatError(f"the edge of a tree has {len(data)} bytes")
        return cls(
            size, tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))
        )

    def to_bytes(self) -> bytes:
        """Return the hashes, one after the other."""
        return b"".join(self.hashes)

    def append(self, leaf: bytes) -> tuple[CompactRange, tuple[bytes, ...]]:
        """Append a leaf; the cost is that of the subtrees that it completes, less than two a leaf.

        Returns:
            The longer tree, and the roots of the subtrees that end with this leaf: of height 0 (the
            leaf itself), 1, 2, ...
        """
        completed = [leaf]
        kept = list(self.hashes)
        for _ in range((~self.size & (self.size + 1)).bit_length() - 1):
            completed.append(node_hash(kept.pop(), completed[-1]))
        return CompactRange(self.size + 1, (*kept, completed[-1])), tuple(completed)

    def root(self) -> bytes:
        """Return the tree's root hash."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root hash of the tree with these leaf hashes."""
    tree = CompactRange()
    for leaf in leaves:
        tree, _ = tree.append(leaf)
    return tree.root()
