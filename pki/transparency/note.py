"""Signed notes: a text with signatures by named keys (C2SP signed-note).

1. A note is UTF-8 without control characters but the newline. The last empty line parts the text
   from the signatures.
2. Name and id together name a key. Signatures by unknown keys are ignored, since anybody can add
   one. An invalid signature by a known key spoils the whole note.
3. The text means nothing until a known key's signature was verified. So :func:`open_note` is the
   only way from bytes to a text that can be used.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pki.errors import quote_untrusted
from pki.transparency.errors import NoteSignatureError, TransparencyFormatError

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
MAX_NOTE_BYTES = 128 * 1024
MAX_SIGNATURES = 512
_MAX_NAME = 512
_MAX_VKEY = 1024
_ID_BYTES = 4
_DASH = "\N{EM DASH} "


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key by which notes are verified, with the name of who signs.

    Args:
        name: of the signer, e.g. ``shop.internal/handfast/audit``.
        kind: the type of its signatures: :data:`ED25519` or :data:`COSIGNATURE_V1`.
        public_key: Ed25519, 32 bytes.
    """

    name: str
    kind: int
    public_key: bytes

    def __post_init__(self) -> None:
        """Check the name and the key."""
        check_name(self.name)
        if self.kind not in {ED25519, COSIGNATURE_V1} or len(self.public_key) != 32:
            raise TransparencyFormatError(
                f"key of {quote_untrusted(self.name)} is of type {self.kind:#04x} with "
                f"{len(self.public_key)} bytes, and only Ed25519 keys are read"
            )

    @classmethod
    def of(cls, name: str, key: Ed25519PublicKey, *, kind: int = ED25519) -> VerifierKey:
        """Return the verifier key of a public key."""
        return cls(name, kind, key.public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Parse a vkey: ``NAME+KEYID+BASE64``.

        Raises:
            TransparencyFormatError: if it is malformed, or its id is not that of its key.
        """
        parts = text.split("+", 2) if len(text) <= _MAX_VKEY else []
        if len(parts) != 3:
            raise TransparencyFormatError(f"{quote_untrusted(text)} is not a verifier key")
        name, key_id, encoded = parts
        data = decode_base64(encoded, what="verifier key")
        if not data:
            raise TransparencyFormatError(f"{quote_untrusted(text)} holds no key")
        key = cls(name, data[0], data[1:])
        if key.key_id.hex() != key_id:
            raise TransparencyFormatError(
                f"verifier key {quote_untrusted(text)} has the id {key.key_id.hex()}"
            )
        return key

    @property
    def key_id(self) -> bytes:
        """The id that signatures name beside the name; short, and no proof of anything."""
        data = self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key
        return sha256(data).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        """Return the vkey."""
        return (
            f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.kind]) + self.public_key)}"
        )

    def is_valid(self, signature: bytes, message: bytes) -> bool:
        """Return whether this key made the Ed25519 signature of a message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line of a note.

    Args:
        name: of the key that is said to have signed.
        key_id: of that key, 4 bytes.
        signature: what the key's type makes of it.
    """

    name: str
    key_id: bytes
    signature: bytes

    def is_by(self, key: VerifierKey) -> bool:
        """Return whether this line claims to be by that key."""
        return self.name == key.name and self.key_id == key.key_id

    def to_line(self) -> str:
        """Return the line, without its newline."""
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.signature)}"

    @classmethod
    def parse(cls, line: str) -> NoteSignature:
        """Parse a signature line.

        Raises:
            TransparencyFormatError: if it is malformed.
        """
        parts = line.removeprefix(_DASH).split(" ")
        if not line.startswith(_DASH) or len(parts) != 2:
            raise TransparencyFormatError(f"{quote_untrusted(line)} is not a signature of a note")
        name, encoded = parts
        check_name(name)
        data = decode_base64(encoded, what="signature of a note")
        if len(data) <= _ID_BYTES:
            raise TransparencyFormatError(f"the signature of {quote_untrusted(name)} is empty")
        return cls(name, data[:_ID_BYTES], data[_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A note with its signatures, which nobody has verified yet.

    Args:
        text: with its last newline.
        signatures: at least one.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, data: bytes) -> SignedNote:
        """Parse a signed note.

        Raises:
            TransparencyFormatError: if it is malformed or larger than 128 KiB.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise TransparencyFormatError(
                f"a signed note has {len(data)} bytes; {MAX_NOTE_BYTES} are the most"
            )
        try:
            note = data.decode()
        except UnicodeDecodeError:
            raise TransparencyFormatError("a signed note is not UTF-8") from None
        if any(character < " " and character != "\n" for character in note):
            raise TransparencyFormatError("a signed note holds a control character")
        text, parting, lines = note.rpartition("\n\n")
        if not parting or not lines.endswith("\n"):
            raise TransparencyFormatError(
                "a signed note is a text, an empty line, and at least one signature line"
            )
        signatures = lines.removesuffix("\n").split("\n")
        if len(signatures) > MAX_SIGNATURES:
            raise TransparencyFormatError(
                f"a signed note has {len(signatures)} signatures; {MAX_SIGNATURES} are the most"
            )
        return cls(text + "\n", tuple(NoteSignature.parse(line) for line in signatures))

    def to_bytes(self) -> bytes:
        """Return the note as it is stored and sent."""
        lines = "".join(f"{item.to_line()}\n" for item in self.signatures)
        return f"{self.text}\n{lines}".encode()

    def verify(self, keys: Iterable[VerifierKey]) -> None:
        """Verify the signatures of known keys over the text.

        Args:
            keys: the keys to trust, of type :data:`ED25519`; signatures of others are ignored.

        Raises:
            NoteSignatureError: if no known key signed, or a known key's signature is invalid.
        """
        known = [key for key in keys if key.kind == ED25519]
        is_signed = False
        for item in self.signatures:
            for key in known:
                if item.is_by(key):
                    if not key.is_valid(item.signature, self.text.encode()):
                        raise NoteSignatureError(
                            f"the signature of {quote_untrusted(key.name)} on the note is invalid"
                        )
                    is_signed = True
        if not is_signed:
            names = ", ".join(quote_untrusted(key.name) for key in known) or "no key"
            raise NoteSignatureError(
                f"the note is not signed by a known key ({names})",
                remedy="Check that the verifier key is this log's",
            )

    def with_signatures(self, signatures: Sequence[NoteSignature]) -> SignedNote:
        """Return the note with further signatures; one that it has already is not added."""
        new = [item for item in signatures if item not in self.signatures]
        return SignedNote(self.text, (*self.signatures, *new))


def open_note(data: bytes, keys: Iterable[VerifierKey]) -> SignedNote:
    """Parse a note, and verify that a known key signed it.

    Raises:
        TransparencyFormatError: if it is malformed.
        NoteSignatureError: as :meth:`SignedNote.verify`.
    """
    note = SignedNote.parse(data)
    note.verify(keys)
    return note


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> SignedNote:
    """Sign a text.

    Args:
        text: lines that each end with a newline.
        name: of the signer.
        key: its key.

    Raises:
        TransparencyFormatError: if the text can't be a note's.
    """
    verifier = VerifierKey.of(name, key.public_key())
    signature = NoteSignature(name, verifier.key_id, key.sign(text.encode()))
    note = SignedNote(text, (signature,))
    if SignedNote.parse(note.to_bytes()) != note:
        raise TransparencyFormatError("this text can't be a note's")
    return note


def check_name(name: str) -> None:
    """Check the name of a key.

    Raises:
        TransparencyFormatError: if it is empty or too long, or holds a space, a plus sign or a
            control character.
    """
    if (
        not 0 < len(name) <= _MAX_NAME
        or "+" in name
        or any(character.isspace() for character in name)
        or holds_unfit_character(name)
    ):
        raise TransparencyFormatError(f"{quote_untrusted(name)} can't be the name of a note's key")


def holds_unfit_character(text: str) -> bool:
    """Return whether a line of a note can't hold this: a control character, or half a character."""
    return any(character < " " or "\ud800" <= character <= "\udfff" for character in text)


def encode_base64(data: bytes) -> str:
    """Return base64 as RFC 4648 §4 writes it."""
    return base64.b64encode(data).decode()


def decode_base64(text: str, *, what: str) -> bytes:
    """Decode base64 in its one right form.

    Raises:
        TransparencyFormatError: if it is malformed, or has bits that mean nothing.
    """
    try:
        data = base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if encode_base64(data) != text:
        raise TransparencyFormatError(f"{what} is not base64: {quote_untrusted(text)}")
    return data
