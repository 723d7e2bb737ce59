"""``.tlog-proof`` files: verified anywhere with the log's key alone."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pki.transparency import (
    Checkpoint,
    InclusionError,
    InclusionProofFile,
    NoteSignatureError,
    TransparencyFormatError,
    VerifierKey,
    inclusion_proof,
    tree_root,
)
from tests.unit.transparency.plain_log import PlainLog

ENTRIES = [f"entry {number}".encode() for number in range(11)]
LOG = PlainLog(ENTRIES)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
VKEY = VerifierKey.of("log.example", KEY.public_key())
NOTE = Checkpoint("log.example", 11, tree_root(LOG, 11)).sign(KEY)
PROOF = InclusionProofFile(6, inclusion_proof(LOG, index=6, size=11), NOTE, ENTRIES[6])
FILE = PROOF.to_bytes()


def test_a_proof_survives_its_file_and_verifies() -> None:
    parsed = InclusionProofFile.parse(FILE)
    assert parsed == PROOF
    assert parsed.verify(ENTRIES[6], [VKEY]).checkpoint.size == 11
    bare = InclusionProofFile(6, PROOF.hashes, NOTE)
    assert b"extra" not in bare.to_bytes()
    assert InclusionProofFile.parse(bare.to_bytes()) == bare


def test_a_proof_in_a_log_of_one_entry_has_no_hashes() -> None:
    note = Checkpoint("log.example", 1, tree_root(LOG, 1)).sign(KEY)
    proof = InclusionProofFile.parse(InclusionProofFile(0, (), note).to_bytes())
    assert proof.verify(ENTRIES[0], [VKEY]).checkpoint.size == 1


def test_another_entry_is_not_proved_nor_is_anything_by_another_log() -> None:
    with pytest.raises(InclusionError):
        PROOF.verify(ENTRIES[5], [VKEY])
    stranger = VerifierKey.of("log.example", Ed25519PrivateKey.generate().public_key())
    with pytest.raises(NoteSignatureError):
        PROOF.verify(ENTRIES[6], [stranger])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        FILE[:-1],
        FILE.replace(b"proof@v1", b"proof@v2"),
        FILE.replace(b"index 6", b"index 06"),
        FILE.replace(b"index 6", b"index  6"),
        FILE.replace(b"index 6\n", b""),
        FILE.replace(b"extra ", b"extra  "),
        FILE.replace(b"extra ", b"other "),
        FILE.replace(b"\nindex", b"\nAAAA\nindex"),
        FILE.replace(b"index 6", b"index 6\nAAAA"),
        FILE.replace(b"index 6", b"index 6" + b"\n" + b"A" * 43 + b"=" * 1 + b"\xc3\xa9"),
        FILE.replace(b"index 6\n", b"index 6\n" + (b"A" * 43 + b"=\n") * 64),
        FILE.replace(b"\n\n", b"\n", 1),
        b"x" * 300_000,
    ],
)
def test_a_malformed_proof_is_refused(data: bytes) -> None:
    with pytest.raises(TransparencyFormatError):
        InclusionProofFile.parse(data)


def test_extra_data_is_bounded() -> None:
    with pytest.raises(TransparencyFormatError):
        InclusionProofFile(6, PROOF.hashes, NOTE, b"x" * 100_000).to_bytes()
