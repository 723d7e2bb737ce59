"""The trees and proofs of RFC 6962, by the vectors of its first implementation."""

from __future__ import annotations

from typing import Any

import pytest

from pki.transparency import (
    EMPTY_ROOT,
    CompactRange,
    ConsistencyError,
    InclusionError,
    TransparencyFormatError,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from tests.unit.transparency.plain_log import PlainLog

# From google/certificate-transparency, which has tested RFC 6962 with them since 2012.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LOG = PlainLog(ENTRIES)


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_the_first_implementation(size: int) -> None:
    assert root_of(map(leaf_hash, ENTRIES[:size])).hex() == ROOTS[size]
    assert tree_root(LOG, size).hex() == ROOTS[size]


@pytest.mark.parametrize(
    ("index", "size", "proof"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    ],
)
def test_the_inclusion_proofs_are_those_of_the_first_implementation(
    index: int, size: int, proof: list[str]
) -> None:
    made = inclusion_proof(LOG, index=index, size=size)
    assert [item.hex() for item in made] == proof


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [
        (1, 1, []),
        (
            1,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
    ],
)
def test_the_consistency_proofs_are_those_of_the_first_implementation(
    old: int, new: int, proof: list[str]
) -> None:
    made = consistency_proof(LOG, old_size=old, new_size=new)
    assert [item.hex() for item in made] == proof


def test_an_inclusion_proof_holds_for_one_entry_at_one_place_in_one_tree() -> None:
    proof = inclusion_proof(LOG, index=5, size=8)
    leaf, root = leaf_hash(ENTRIES[5]), tree_root(LOG, 8)
    verify_inclusion(leaf, index=5, size=8, root=root, proof=proof)
    good: dict[str, Any] = {"index": 5, "size": 8, "root": root, "proof": proof}
    changed: list[dict[str, Any]] = [
        {"leaf": leaf_hash(ENTRIES[4])},
        {"index": 4},
        {"index": 8},
        {"index": -1},
        {"size": 6},
        {"root": tree_root(LOG, 7)},
        {"proof": proof[:-1]},
        {"proof": (*proof, root)},
        {"proof": proof[::-1]},
    ]
    for change in changed:
        wrong = {"leaf": leaf, **good, **change}
        with pytest.raises(InclusionError):
            verify_inclusion(wrong.pop("leaf"), **wrong)


def test_a_node_can_not_pose_as_an_entry() -> None:
    left, right = leaf_hash(ENTRIES[0]), leaf_hash(ENTRIES[1])
    # The entry whose bytes are those of the node above the first two.
    forged = root_of([leaf_hash(left + right)])
    assert forged != tree_root(LOG, 2)


def test_a_consistency_proof_holds_for_two_trees_only() -> None:
    good: dict[str, Any] = {
        "old_size": 6,
        "old_root": tree_root(LOG, 6),
        "new_size": 8,
        "new_root": tree_root(LOG, 8),
        "proof": consistency_proof(LOG, old_size=6, new_size=8),
    }
    verify_consistency(**good)
    proof = consistency_proof(LOG, old_size=6, new_size=8)
    changed: list[dict[str, Any]] = [
        {"old_root": tree_root(LOG, 5)},
        {"new_root": tree_root(LOG, 7)},
        {"old_size": 5},
        {"old_size": 9},
        {"old_size": 8},
        {"old_size": 0},
        {"new_size": 16},
        {"proof": proof[:-1]},
        {"proof": ()},
        {"proof": (*proof, proof[0])},
    ]
    for change in changed:
        with pytest.raises(ConsistencyError):
            verify_consistency(**{**good, **change})


def test_the_empty_tree_is_extended_by_every_tree_and_needs_no_proof() -> None:
    root = tree_root(LOG, 8)
    verify_consistency(old_size=0, old_root=EMPTY_ROOT, new_size=8, new_root=root, proof=())
    with pytest.raises(ConsistencyError):
        verify_consistency(old_size=0, old_root=root, new_size=8, new_root=root, proof=())
    with pytest.raises(ConsistencyError, match="given where none"):
        verify_consistency(
            old_size=0, old_root=EMPTY_ROOT, new_size=8, new_root=root, proof=(root,)
        )
    with pytest.raises(ConsistencyError, match="empty tree"):
        verify_consistency(old_size=0, old_root=root, new_size=0, new_root=root, proof=())


@pytest.mark.parametrize(
    ("size", "data"),
    [(1, b""), (0, bytes(32)), (3, bytes(32)), (1, bytes(31)), (-1, b""), (1 << 63, bytes(32))],
)
def test_the_edge_of_a_tree_fits_its_size(size: int, data: bytes) -> None:
    with pytest.raises(TransparencyFormatError):
        CompactRange.of_bytes(size, data)


def test_no_proof_is_made_for_what_is_not_there() -> None:
    with pytest.raises(TransparencyFormatError):
        inclusion_proof(LOG, index=8, size=8)
    with pytest.raises(TransparencyFormatError):
        consistency_proof(LOG, old_size=9, new_size=8)
    with pytest.raises(TransparencyFormatError, match="lacks"):
        tree_root(LOG, 9)


def test_the_subtrees_that_a_leaf_completes_are_told_up_to_the_whole_tree() -> None:
    tree = CompactRange()
    for number in range(1 << 16):
        tree, completed = tree.append(leaf_hash(number.to_bytes(4, "big")))
    assert len(completed) == 17
    assert completed[0] == leaf_hash((65_535).to_bytes(4, "big"))
    assert completed[16] == tree.root()
    assert tree.hashes == (completed[16],)
