"""``.tlog-proof`` files: that a log holds an entry, to be verified anywhere (C2SP tlog-proof)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pki.transparency.checkpoint import (
    SignedCheckpoint,
    open_checkpoint,
    parse_decimal,
    parse_hash,
)
from pki.transparency.errors import TransparencyFormatError
from pki.transparency.merkle import leaf_hash, verify_inclusion
from pki.transparency.note import (
    MAX_NOTE_BYTES,
    SignedNote,
    VerifierKey,
    decode_base64,
    encode_base64,
)

SUFFIX = ".tlog-proof"
_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_EXTRA = 96 * 1024
MAX_PROOF_BYTES = 2 * MAX_NOTE_BYTES
_MAX_HASHES = 63


@dataclass(frozen=True, slots=True)
class InclusionProofFile:
    """A proof that an entry is in a log.

    Args:
        index: of the entry.
        hashes: the inclusion proof, the leaf's sibling first.
        checkpoint: the signed checkpoint, with the cosignatures that it has.
        extra: not authenticated; handfast puts the entry itself here.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: SignedNote
    extra: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> InclusionProofFile:
        """Parse a ``.tlog-proof`` file.

        Raises:
            TransparencyFormatError: if it is malformed or too large.
        """
        if len(data) > MAX_PROOF_BYTES:
            raise TransparencyFormatError(
                f"a proof has {len(data)} bytes; {MAX_PROOF_BYTES} are the most"
            )
        head, parting, note = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            lines = []
        if not parting or len(lines) < 2 or lines[0] != _HEADER:
            raise TransparencyFormatError(f"a proof begins with the line {_HEADER}")
        rest = lines[1:]
        extra = b""
        if rest[0].startswith("extra "):
            extra = decode_base64(rest.pop(0).removeprefix("extra "), what="extra data")
        if not rest or not rest[0].startswith("index ") or len(rest) > 1 + _MAX_HASHES:
            raise TransparencyFormatError(
                f"a proof names an index, and at most {_MAX_HASHES} hashes after it"
            )
        index = parse_decimal(rest[0].removeprefix("index "))
        hashes = tuple(parse_hash(line) for line in rest[1:])
        return cls(index, hashes, SignedNote.parse(note), extra)

    def to_bytes(self) -> bytes:
        """Return the file's content.

        Raises:
            TransparencyFormatError: if the extra data is too large.
        """
        if len(self.extra) > _MAX_EXTRA:
            raise TransparencyFormatError(f"extra data of {len(self.extra)} bytes is too large")
        lines = [_HEADER]
        if self.extra:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines.extend(map(encode_base64, self.hashes))
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint.to_bytes()

    def verify(self, entry: bytes, log_keys: Iterable[VerifierKey]) -> SignedCheckpoint:
        """Verify that the log with one of these keys holds an entry.

        Args:
            entry: the whole entry. The extra data of the file is not authenticated before this.
            log_keys: the keys of the log.

        Returns:
            The checkpoint that the entry is proved for.

        Raises:
            TransparencyError: if the log's signature or the proof is invalid.
            TransparencyFormatError: if the checkpoint is malformed.
        """
        signed = open_checkpoint(self.checkpoint.to_bytes(), log_keys)
        verify_inclusion(
            leaf_hash(entry),
            index=self.index,
            size=signed.checkpoint.size,
            root=signed.checkpoint.root,
            proof=self.hashes,
        )
        return signed
