"""Cosignatures: a witness signs that a checkpoint extends all it saw (C2SP tlog-cosignature, v1).

The key of a witness is used for nothing else: the signed message does not hold its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pki.errors import quote_untrusted
from pki.transparency.checkpoint import Checkpoint
from pki.transparency.errors import NoteSignatureError, TransparencyFormatError
from pki.transparency.note import COSIGNATURE_V1, NoteSignature, SignedNote, VerifierKey

_TIME_BYTES = 8
_SIGNATURE_BYTES = 64
_LAST = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A cosignature that was verified.

    Args:
        witness: the witness's key.
        at: when the witness signed.
    """

    witness: VerifierKey
    at: datetime


def cosign(note: SignedNote, name: str, key: Ed25519PrivateKey, *, at: datetime) -> NoteSignature:
    """Cosign a checkpoint that the witness has accepted.

    Args:
        note: the checkpoint.
        name: of the witness.
        key: of the witness.
        at: the time.

    Raises:
        TransparencyFormatError: if the note is no checkpoint, or the time before 1970.
    """
    Checkpoint.parse(note.text)
    # Without what a float of a far year would round up.
    seconds = int(at.replace(microsecond=0).timestamp())
    verifier = VerifierKey.of(name, key.public_key(), kind=COSIGNATURE_V1)
    signed = key.sign(_message(note, seconds))
    signature = seconds.to_bytes(_TIME_BYTES, "big") + signed
    return NoteSignature(name, verifier.key_id, signature)


def verify_cosignatures(
    note: SignedNote, witnesses: Iterable[VerifierKey]
) -> tuple[Cosignature, ...]:
    """Verify the cosignatures of known witnesses on a checkpoint.

    Args:
        note: the checkpoint.
        witnesses: the keys of the known witnesses; cosignatures of others are ignored.

    Returns:
        One for each known witness that signed, with its latest time.

    Raises:
        NoteSignatureError: if a known witness's cosignature is invalid.
        TransparencyFormatError: if the note is no checkpoint.
    """
    Checkpoint.parse(note.text)
    verified: dict[VerifierKey, Cosignature] = {}
    for key in witnesses:
        if key.kind != COSIGNATURE_V1:
            continue
        for item in note.signatures:
            if not item.is_by(key):
                continue
            at = _verified_time(note, item, key)
            if key not in verified or verified[key].at < at:
                verified[key] = Cosignature(key, at)
    return tuple(verified.values())


def _verified_time(note: SignedNote, item: NoteSignature, key: VerifierKey) -> datetime:
    seconds = int.from_bytes(item.signature[:_TIME_BYTES], "big")
    if (
        len(item.signature) != _TIME_BYTES + _SIGNATURE_BYTES
        or seconds > _LAST.timestamp()
        or not key.is_valid(item.signature[_TIME_BYTES:], _message(note, seconds))
    ):
        raise NoteSignatureError(f"the cosignature of {quote_untrusted(key.name)} is invalid")
    return datetime.fromtimestamp(seconds, tz=UTC)


def _message(note: SignedNote, seconds: int) -> bytes:
    if seconds < 0:
        raise TransparencyFormatError("a cosignature has no time before 1970")
    return f"cosignature/v1\ntime {seconds}\n{note.text}".encode()
