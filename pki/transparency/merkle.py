"""The Merkle tree of RFC 6962 §2.1 and RFC 9162 §2.1: its hashes, and how proofs are verified.

1. The hash of an entry is SHA-256 of 0x00 and the entry; that of a node is SHA-256 of 0x01 and its
   two children. So no node can pose as an entry.
2. The left subtree of a tree with n leaves is the largest complete one with less than n leaves.
3. The length of a proof follows from the sizes alone. A proof of another length is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from pki.transparency.errors import ConsistencyError, InclusionError

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
MAX_SIZE = (1 << 63) - 1


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node with two children."""
    return sha256(b"\x01" + left + right).digest()


def verify_inclusion(
    leaf: bytes, *, index: int, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Verify that a tree holds an entry.

    Args:
        leaf: the entry's hash.
        index: the entry's position, from 0 on.
        size: how many entries the tree has.
        root: the tree's root hash.
        proof: the hashes from the leaf's sibling up to the root's child.

    Raises:
        InclusionError: if the proof does not show it.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise InclusionError(f"a tree of {size} entries has no entry {index}")
    # Below the height where the paths to this leaf and to the last leaf part, the sibling is on
    # either side; above it, only on the left.
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    if len(proof) != inner + border:
        raise InclusionError(
            f"the proof for entry {index} of {size} has {len(proof)} hashes, and needs "
            f"{inner + border}"
        )
    if _climb(leaf, proof, index=index, inner=inner) != root:
        raise InclusionError(f"the tree of {size} entries does not hold this entry at {index}")


def verify_consistency(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Verify that a tree extends an older one: all its entries are there, unchanged and in place.

    Args:
        old_size: how many entries the older tree has.
        old_root: the older tree's root hash.
        new_size: how many entries the newer tree has.
        new_root: the newer tree's root hash.
        proof: as RFC 6962 §2.1.2 orders its hashes.

    Raises:
        ConsistencyError: if the proof does not show it.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise ConsistencyError(f"a tree of {new_size} entries extends none of {old_size}")
    if old_size in {0, new_size}:
        expected = EMPTY_ROOT if old_size == 0 else new_root
        if new_size == 0 and new_root != EMPTY_ROOT:
            raise ConsistencyError("the root of the empty tree is wrong")
        if proof or old_root != expected:
            raise ConsistencyError(
                f"the roots of the trees of {old_size} and {new_size} entries do not agree"
                if not proof
                else "a proof is given where none is needed"
            )
        return
    # The proof begins at the last complete subtree of the older tree: its root is the first hash,
    # unless the whole older tree is complete, and the root known.
    shift = (old_size & -old_size).bit_length() - 1
    is_complete = old_size == 1 << shift
    start, path = (old_root, proof) if is_complete else (None, proof[1:])
    index = (old_size - 1) >> shift
    inner = ((old_size - 1) ^ (new_size - 1)).bit_length() - shift
    border = (index >> inner).bit_count()
    needed = inner + border + (0 if is_complete else 1)
    if len(proof) != needed:
        raise ConsistencyError(
            f"the proof from {old_size} to {new_size} entries has {len(proof)} hashes, and needs "
            f"{needed}"
        )
    start = start if start is not None else proof[0]
    lefts = [item for height, item in enumerate(path) if height >= inner or (index >> height) & 1]
    old = start
    for left in lefts:
        old = node_hash(left, old)
    if old != old_root:
        raise ConsistencyError(f"the proof does not lead to the root of {old_size} entries")
    if _climb(start, path, index=index, inner=inner) != new_root:
        raise ConsistencyError(f"the tree of {new_size} entries does not extend that of {old_size}")


def _climb(start: bytes, path: Sequence[bytes], *, index: int, inner: int) -> bytes:
    """Return the root that a path leads to, from a node with this index in its row."""
    reached = start
    for height, sibling in enumerate(path):
        is_left = height >= inner or (index >> height) & 1
        reached = node_hash(sibling, reached) if is_left else node_hash(reached, sibling)
    return reached
