"""Another implementation of the C2SP formats (tlog-scales) agrees with the CA's audit log."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pki.authority import Authority
from pki.transparency import (
    InclusionProofFile,
    VerifierKey,
    Witness,
    consistency_proof,
    cosign,
    leaf_hash,
    open_checkpoint,
    tiles_of,
    verify_consistency,
)
from pki.transparency.note import COSIGNATURE_V1, SignedNote
from pki.transparency.tiles import Tile, decode_bundle, decode_tile
from tests.support import make_authority
from tests.unit.authority.audit.logged import ORIGIN, add_entries, published, verifier_key

pytest.importorskip("tlog_scales", reason="tlog-scales needs a newer cryptography than this")

from tlog_scales import backend, reader, signing, tlog, writer

ENTRIES = 1000
SIZE = 4 + 300 + ENTRIES + 1


def export(ca: Authority, folder: Path) -> None:
    """Write a log's tiles and its checkpoint as files, as a server of them would serve them."""
    with ca._context.ledger.snapshot() as transaction:
        for tile in tiles_of(transaction.audit.head().size):
            path = folder / tile.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(transaction.audit.tile(tile))
    (folder / "checkpoint").write_bytes(published(ca.path))


def read_with_them(folder: Path) -> tuple[Any, Any]:
    """Return their reader of a log, and the checkpoint that they read."""
    foreign = reader.TilesReader(backend.LocalBackend(folder))
    return foreign, foreign.get_checkpoint()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    """Return the home of a CA with a long log, the log's files, and an earlier checkpoint."""
    folder = tmp_path_factory.mktemp("log")
    with make_authority(folder) as ca:
        ca.issue("orders")
        add_entries(ca, 300)
        earlier = published(ca.path)
        add_entries(ca, ENTRIES)
        ca.issue("payments")
        export(ca, folder / "tiles")
        return ca.path, folder / "tiles", earlier


def test_they_compute_the_root_that_the_checkpoint_names_and_verify_its_signature(
    log: tuple[Path, Path, bytes],
) -> None:
    home, tiles, _ = log
    foreign, checkpoint = read_with_them(tiles)
    assert (checkpoint.origin, checkpoint.size) == (ORIGIN, SIZE)
    checkpoint.verify(signing.Vkey.from_string(str(verifier_key(home))))
    assert foreign.calculate_root_hash() == checkpoint.root_hash


def test_their_proof_is_ours_byte_for_byte(log: tuple[Path, Path, bytes]) -> None:
    home, tiles, _ = log
    with Authority.open(home, read_only=True) as ca:
        for index in (0, 3, 255, 256, 1023, 1024, SIZE - 1):
            ours = ca.prove_audit_entry(index=index)
            command = [sys.executable, "-m", "tlog_scales.cli", "gen-proof", str(tiles), str(index)]
            made = subprocess.run(command, check=True, capture_output=True)
            theirs = InclusionProofFile.parse(made.stdout)
            assert (theirs.index, theirs.hashes) == (ours.index, ours.hashes)
            assert theirs.checkpoint == ours.checkpoint
            # Proved by them, verified by us; and the other way round.
            theirs.verify(ours.extra, [verifier_key(home)])
            leaf = tlog.InclusionProof(index, SIZE, list(ours.hashes))
            foreign, checkpoint = read_with_them(tiles)
            leaf.check(leaf_hash(ours.extra), checkpoint.root_hash)
            assert foreign.get_entry(index) == ours.extra


def test_a_proof_of_another_entry_convinces_neither(log: tuple[Path, Path, bytes]) -> None:
    home, tiles, _ = log
    _, checkpoint = read_with_them(tiles)
    with Authority.open(home, read_only=True) as ca:
        ours = ca.prove_audit_entry(index=3)
    with pytest.raises(tlog.InclusionProofInvalid):
        tlog.InclusionProof(3, checkpoint.size, list(ours.hashes)).check(
            leaf_hash(b"forged"), checkpoint.root_hash
        )


def test_our_witness_follows_by_their_consistency_proof_and_they_accept_ours(
    log: tuple[Path, Path, bytes],
) -> None:
    home, tiles, earlier = log
    foreign, _ = read_with_them(tiles)
    witness = Witness(verifier_key(home)).accept(earlier, ())
    old = witness.size
    new = witness.accept(published(home), foreign.get_consistency_proof(old, SIZE).node_hashes)
    assert new.size == SIZE
    with Authority.open(home, read_only=True) as ca, ca._context.ledger.snapshot() as transaction:
        ours = consistency_proof(transaction.audit, old_size=old, new_size=new.size)
    before, after = (
        open_checkpoint(data, [verifier_key(home)]).checkpoint.root
        for data in (earlier, published(home))
    )
    tlog.ConsistencyProof(old, new.size, list(ours)).check(before, after)
    with pytest.raises(tlog.ConsistencyProofInvalid):
        tlog.ConsistencyProof(old, new.size, list(ours)).check(after, after)


def test_they_verify_the_cosignature_of_our_witness(log: tuple[Path, Path, bytes]) -> None:
    home, _, _ = log
    key = Ed25519PrivateKey.generate()
    name = "shop.internal/handfast/witness/orders"
    note = SignedNote.parse(published(home))
    line = cosign(note, name, key, at=datetime(2026, 11, 26, tzinfo=UTC))
    cosigned = note.with_signatures([line]).to_bytes().decode()
    vkey = VerifierKey.of(name, key.public_key(), kind=COSIGNATURE_V1)
    checkpoint = tlog.Checkpoint.from_text(cosigned)
    checkpoint.verify(signing.Vkey.from_string(str(vkey)))
    forged = cosigned.replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n")
    with pytest.raises(InvalidSignature):
        tlog.Checkpoint.from_text(forged).verify(signing.Vkey.from_string(str(vkey)))


def test_we_read_the_log_that_they_write(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    signer = signing.PlainEd25519Signer("log.example", key)
    theirs = writer.TilesWriter.create(tmp_path / "log", "log.example")
    checkpoints = []
    for start, end in ((0, 5), (5, 300), (300, 700)):
        for number in range(start, end):
            theirs.add_leaf(f"entry {number}".encode())
        theirs.commit([signer])
        checkpoints.append((tmp_path / "log" / "checkpoint").read_bytes())
    vkey = VerifierKey.of("log.example", key.public_key())
    states = [open_checkpoint(data, [vkey]).checkpoint for data in checkpoints]
    assert [state.size for state in states] == [5, 300, 700]

    class Files:
        def hashes(self, level: int, start: int, end: int) -> tuple[bytes, ...]:
            index, first = divmod(start, 256)
            total = 700 >> 8 * level
            tile = Tile(level, index, min(256, total - index * 256))
            data = (tmp_path / "log" / tile.path).read_bytes()
            return decode_tile(data, width=tile.width)[first : first + end - start]

    for old, new in pairwise(states):
        verify_consistency(
            old_size=old.size,
            old_root=old.root,
            new_size=new.size,
            new_root=new.root,
            proof=consistency_proof(Files(), old_size=old.size, new_size=new.size),
        )
    bundle = Tile(None, 2, 188)
    entries = decode_bundle((tmp_path / "log" / bundle.path).read_bytes(), width=188)
    assert entries[-1] == b"entry 699"
