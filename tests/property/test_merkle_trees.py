"""Merkle trees of any size: what the toolkit computes is what RFC 6962 defines."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.transparency import (
    CompactRange,
    ConsistencyError,
    InclusionError,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from tests.unit.transparency.plain_log import PlainLog, mth, path, subproof

ENTRIES = [f"entry {number}".encode() for number in range(700)]
LOG = PlainLog(ENTRIES)
SIZES = st.one_of(
    st.integers(1, 40), st.sampled_from([255, 256, 257, 511, 512, 513]), st.integers(1, 700)
)


@given(SIZES)
@settings(deadline=None, max_examples=60)
def test_a_tree_that_grows_has_the_root_and_the_tiles_of_the_definition(size: int) -> None:
    tree = CompactRange()
    tiles = {}
    for number, entry in enumerate(ENTRIES[:size]):
        tree, completed = tree.append(leaf_hash(entry))
        if len(completed) > 8:
            tiles[number // 256] = completed[8]
    assert tree.root() == mth(ENTRIES[:size]) == tree_root(LOG, size)
    assert CompactRange.of_bytes(size, tree.to_bytes()) == tree
    assert [tiles[at] for at in range(size // 256)] == LOG.hashes(1, 0, size // 256)


@given(st.data(), SIZES)
@settings(deadline=None, max_examples=100)
def test_every_inclusion_proof_is_the_defined_one_and_fails_for_all_else(
    data: st.DataObject, size: int
) -> None:
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda at: at != index or size == 1))
    proof = inclusion_proof(LOG, index=index, size=size)
    assert list(proof) == path(index, ENTRIES[:size])
    root = mth(ENTRIES[:size])
    verify_inclusion(leaf_hash(ENTRIES[index]), index=index, size=size, root=root, proof=proof)
    if other != index:
        for leaf, at in ((ENTRIES[other], index), (ENTRIES[index], other)):
            with pytest.raises(InclusionError):
                verify_inclusion(leaf_hash(leaf), index=at, size=size, root=root, proof=proof)


@given(st.data(), SIZES)
@settings(deadline=None, max_examples=100)
def test_every_consistency_proof_is_the_defined_one_and_fails_for_a_changed_past(
    data: st.DataObject, new: int
) -> None:
    old = data.draw(st.integers(1, new))
    proof = consistency_proof(LOG, old_size=old, new_size=new)
    assert list(proof) == (subproof(old, ENTRIES[:new], known=True) if old < new else [])
    roots = {"old_root": mth(ENTRIES[:old]), "new_root": mth(ENTRIES[:new])}
    verify_consistency(old_size=old, new_size=new, proof=proof, **roots)
    changed = data.draw(st.integers(0, old - 1))
    past = [*ENTRIES[:changed], b"another", *ENTRIES[changed + 1 : old]]
    with pytest.raises(ConsistencyError):
        verify_consistency(
            old_size=old,
            old_root=mth(past),
            new_size=new,
            new_root=roots["new_root"],
            proof=proof,
        )


@given(st.integers(1, 60), st.integers(0, 60), st.lists(st.binary(min_size=32, max_size=32)))
@settings(deadline=None)
def test_no_made_up_proof_is_accepted(size: int, index: int, proof: list[bytes]) -> None:
    root = mth(ENTRIES[:size])
    with pytest.raises(InclusionError):
        verify_inclusion(leaf_hash(b"forged"), index=index, size=size, root=root, proof=proof)
