"""A witness accepts only what extends what it saw."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pki.transparency import (
    Checkpoint,
    ForkError,
    NoteSignatureError,
    StepBackError,
    TransparencyFormatError,
    VerifierKey,
    Witness,
    consistency_proof,
    tree_root,
)
from tests.unit.transparency.plain_log import PlainLog

ENTRIES = [f"entry {number}".encode() for number in range(11)]
LOG = PlainLog(ENTRIES)
REWRITTEN = PlainLog([*ENTRIES[:3], b"another", *ENTRIES[4:]])
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
VKEY = VerifierKey.of("log.example", KEY.public_key())


def note(size: int, log: PlainLog = LOG, *, key: Ed25519PrivateKey = KEY) -> bytes:
    return Checkpoint("log.example", size, tree_root(log, size)).sign(key).to_bytes()


def proof(old: int, new: int, log: PlainLog = LOG) -> Sequence[bytes]:
    return consistency_proof(log, old_size=old, new_size=new)


def test_a_log_that_grows_is_accepted_step_by_step_and_across_restarts() -> None:
    witness = Witness(VKEY)
    for old, new in [(0, 2), (2, 2), (2, 7), (7, 11)]:
        assert witness.size == old
        witness = witness.accept(note(new), proof(old, new))
        witness = Witness.restore(VKEY, witness.stored())
    assert witness.size == 11
    assert Witness.restore(VKEY, Witness(VKEY).stored()) == Witness(VKEY)


def test_a_log_that_begins_empty_is_followed_from_there() -> None:
    witness = Witness(VKEY).accept(note(0), ())
    assert witness.accept(note(7), ()).size == 7


def test_a_rewritten_log_is_a_fork_though_the_log_signed_it() -> None:
    witness = Witness(VKEY).accept(note(7), ())
    for size in (7, 11):
        with pytest.raises(ForkError, match="is forked") as caught:
            witness.accept(note(size, REWRITTEN), proof(7, size, REWRITTEN))
        assert "Keep both checkpoints" in caught.value.remedy
    # The proof of the true log does not help.
    with pytest.raises(ForkError):
        witness.accept(note(11, REWRITTEN), proof(7, 11))


def test_a_larger_tree_without_a_proof_is_not_accepted() -> None:
    witness = Witness(VKEY).accept(note(7), ())
    with pytest.raises(ForkError, match="has 0 hashes"):
        witness.accept(note(11), ())


def test_a_step_back_is_told_as_one() -> None:
    witness = Witness(VKEY).accept(note(7), ())
    with pytest.raises(StepBackError, match="had 7 entries, and shows 3"):
        witness.accept(note(3), ())


def test_what_the_log_did_not_sign_says_nothing_about_the_log() -> None:
    witness = Witness(VKEY).accept(note(7), ())
    with pytest.raises(NoteSignatureError):
        witness.accept(note(3, key=Ed25519PrivateKey.generate()), ())
    with pytest.raises(TransparencyFormatError):
        witness.accept(b"", ())
    with pytest.raises(NoteSignatureError):
        Witness.restore(VKEY, note(3, key=Ed25519PrivateKey.generate()))
