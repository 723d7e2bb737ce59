"""What a witness of the CA's audit log keeps in its identity's directory.

- ``.handfast-audit.checkpoint``: the checkpoint that was accepted last, a signed note.
- ``.handfast-audit.vkey``: the key of the log that signed it.
- ``.handfast-witness.pem``: the witness's own key, used for cosignatures alone.
- ``.handfast-audit.disputed``: a checkpoint that does not extend the accepted one, as evidence.
- ``.handfast-audit.replaced``: what was accepted last of the log that a restored one took the
  place of, once a root has acknowledged that.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pki.errors import StateError, quote_untrusted
from pki.files import HANDFAST, read_bounded, remove_durably, write_durably
from pki.files.open_folder import PRIVATE, PUBLIC
from pki.keys import KeyType, generate_key, private_key_to_pem, read_private_key
from pki.transparency import VerifierKey, Witness
from pki.transparency.note import MAX_NOTE_BYTES

CHECKPOINT = ".handfast-audit.checkpoint"
LOG_KEY = ".handfast-audit.vkey"
WITNESS_KEY = ".handfast-witness.pem"
REPLACED = ".handfast-audit.replaced"
DISPUTED = ".handfast-audit.disputed"
_MOST_BYTES = 16 * 1024


class WitnessStore:
    """The files of one witness.

    Args:
        directory: of the identity; it exists.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, log_key: VerifierKey) -> Witness:
        """Return the witness as it was kept; for a log with another key now, with what it accepted.

        A log with another name was restored from a backup, and a root has acknowledged it: the
        witness begins anew with it. What it accepted before is kept beside.

        Raises:
            PkiError: if a file is damaged: then nobody knows what was accepted.
        """
        note, line = self._read(CHECKPOINT, MAX_NOTE_BYTES), self._read(LOG_KEY, _MOST_BYTES)
        if note is None or line is None:
            return Witness(log_key)
        kept = Witness.restore(VerifierKey.parse(line.decode("ascii", "replace").strip()), note)
        if kept.log_key.name != log_key.name:
            self._write(REPLACED, note, PUBLIC)
            self._forget_dispute(log_key.name)
            return Witness(log_key)
        return Witness(log_key, kept.last)

    def save(self, witness: Witness) -> None:
        """Keep what was accepted; it is on disk when this returns.

        Raises:
            StateError: if it can't be written.
        """
        note = witness.stored()
        if note is not None:
            # The key first: with an older note beside it, the note is not read as this key's.
            self._write(LOG_KEY, f"{witness.log_key}\n".encode(), PUBLIC)
            self._write(CHECKPOINT, note, PUBLIC)

    def keep_evidence(self, note: bytes) -> None:
        """Keep the first checkpoint that does not extend the accepted one."""
        if self._read(DISPUTED, MAX_NOTE_BYTES) is None:
            self._write(DISPUTED, note, PUBLIC)

    def _forget_dispute(self, origin: str) -> None:
        """Remove the evidence if it is that a log had this name, which is acknowledged."""
        note = self._read(DISPUTED, MAX_NOTE_BYTES)
        if note is not None and note.startswith(f"{origin}\n".encode()):
            remove_durably(self._directory / DISPUTED)

    def disputed(self) -> str:
        """Return what a person should know of the evidence; empty if there is none."""
        path = self._directory / DISPUTED
        if not os.path.lexists(path):
            return ""
        return (
            f"the CA's audit log had another history: {quote_untrusted(path)}. Find out who "
            "changed it, and then remove the file"
        )

    def key(self) -> Ed25519PrivateKey:
        """Return the witness's own key; it is on disk when this returns.

        Raises:
            PkiError: if it can't be read or written.
        """
        data = self._read(WITNESS_KEY, _MOST_BYTES)
        if data is None:
            made = generate_key(KeyType.ED25519)
            self._write(WITNESS_KEY, private_key_to_pem(made), PRIVATE)
        else:
            made = read_private_key(data)
        if not isinstance(made, Ed25519PrivateKey):
            raise StateError(f"{quote_untrusted(self._directory / WITNESS_KEY)} is no Ed25519 key")
        return made

    def _read(self, name: str, most: int) -> bytes | None:
        with suppress(FileNotFoundError):
            return read_bounded(self._directory / name, max_bytes=most)[0]
        return None

    def _write(self, name: str, data: bytes, mode: int) -> None:
        write_durably(self._directory / name, data, mode=mode, like=HANDFAST.key)
