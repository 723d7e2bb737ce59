"""Checkpoints: what a log signs, its size and the root hash of its tree (C2SP tlog-checkpoint)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pki.errors import quote_untrusted
from pki.transparency.errors import TransparencyFormatError
from pki.transparency.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from pki.transparency.note import (
    SignedNote,
    VerifierKey,
    decode_base64,
    encode_base64,
    holds_unfit_character,
    sign_note,
)

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_MAX_ORIGIN = 512


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log.

    Args:
        origin: the log's name, e.g. ``shop.internal/handfast/audit``.
        size: how many entries it has.
        root: the root hash of its tree.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        """Check that it can be written as lines."""
        if (
            not 0 < len(self.origin) <= _MAX_ORIGIN
            or holds_unfit_character(self.origin)
            or not 0 <= self.size <= MAX_SIZE
            or len(self.root) != HASH_BYTES
            or (self.size == 0 and self.root != EMPTY_ROOT)
        ):
            raise TransparencyFormatError(
                f"{quote_untrusted(self.origin)} with {self.size} entries is no state of a log"
            )

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Parse the text of a checkpoint; lines after the third are extensions, and ignored.

        Raises:
            TransparencyFormatError: if it is malformed.
        """
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < 3 or not all(lines) or not text.endswith("\n"):
            raise TransparencyFormatError("a checkpoint has three lines: origin, size, root hash")
        return cls(lines[0], parse_decimal(lines[1]), parse_hash(lines[2]))

    def to_text(self) -> str:
        """Return the three lines."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"

    def sign(self, key: Ed25519PrivateKey) -> SignedNote:
        """Sign it with the log's key, whose name is the origin."""
        return sign_note(self.to_text(), self.origin, key)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint with the note whose signature of the log was verified."""

    checkpoint: Checkpoint
    note: SignedNote


def open_checkpoint(data: bytes, log_keys: Iterable[VerifierKey]) -> SignedCheckpoint:
    """Parse a signed checkpoint, and verify the log's signature.

    Args:
        data: the note.
        log_keys: the keys of the log; the name of each is the log's origin.

    Raises:
        TransparencyFormatError: if it is malformed.
        NoteSignatureError: if none of these keys signed it, or it is of another log.
    """
    note = SignedNote.parse(data)
    checkpoint = Checkpoint.parse(note.text)
    # Only keys of this very log: else another log's signature would do.
    note.verify([key for key in log_keys if key.name == checkpoint.origin])
    return SignedCheckpoint(checkpoint, note)


def parse_decimal(text: str) -> int:
    """Parse a size or an index, without leading zeros.

    Raises:
        TransparencyFormatError: if it is no decimal number below 2^63.
    """
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_SIZE:
        raise TransparencyFormatError(f"{quote_untrusted(text)} is not a size of a log")
    return int(text)


def parse_hash(text: str) -> bytes:
    """Parse a hash in base64.

    Raises:
        TransparencyFormatError: if it does not have 32 bytes.
    """
    data = decode_base64(text, what="hash")
    if len(data) != HASH_BYTES:
        raise TransparencyFormatError(f"hash {quote_untrusted(text)} does not have 32 bytes")
    return data
