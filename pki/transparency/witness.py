"""A witness remembers what a log showed last, and accepts only what extends it.

The rules, which are those of C2SP tlog-witness:

1. The first checkpoint is accepted as it is, if the log signed it.
2. A larger tree is accepted with a proof that it extends the one that was accepted last.
3. A tree of the same size must have the same root. Else the log is forked: somebody was shown
   another history.
4. A smaller tree is a step back. Nothing but a mistake of the log, or its rewriting, explains it.

Where a proof fails, the log signed two trees of which one does not extend the other, or it sent a
wrong proof. Both are told as a fork, with the two checkpoints; the witness stays where it is.

A :class:`Witness` is a value without I/O. Who keeps it stores the new one durably before it
cosigns, and lets nobody else accept in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pki.errors import quote_untrusted
from pki.transparency.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from pki.transparency.errors import ConsistencyError, ForkError, StepBackError
from pki.transparency.merkle import verify_consistency
from pki.transparency.note import VerifierKey

_REMEDY = (
    "Keep both checkpoints, and find out who changed the log: an older copy of the ledger was "
    "accepted (handfast ca recover), or history was rewritten"
)


@dataclass(frozen=True, slots=True)
class Witness:
    """What a witness knows of one log.

    Args:
        log_key: the log's key; its name is the log's origin.
        last: the checkpoint that was accepted last; None before the first.
    """

    log_key: VerifierKey
    last: SignedCheckpoint | None = None

    @classmethod
    def restore(cls, log_key: VerifierKey, stored: bytes | None) -> Witness:
        """Return the witness from the note that it stored; None if it stored none yet.

        Raises:
            TransparencyFormatError: if the note is malformed.
            NoteSignatureError: if the log did not sign it.
        """
        if stored is None:
            return cls(log_key)
        return cls(log_key, open_checkpoint(stored, [log_key]))

    @property
    def size(self) -> int:
        """The size from which the next checkpoint needs a proof."""
        return self.last.checkpoint.size if self.last is not None else 0

    def accept(self, note: bytes, proof: Sequence[bytes]) -> Witness:
        """Accept the log's next checkpoint.

        Args:
            note: the signed checkpoint.
            proof: that it extends the checkpoint that was accepted last; empty for the first.

        Returns:
            The witness as it is from now on.

        Raises:
            TransparencyFormatError: if the note is malformed.
            NoteSignatureError: if the log did not sign it.
            StepBackError: if its tree is smaller.
            ForkError: if its tree does not extend the last one.
        """
        signed = open_checkpoint(note, [self.log_key])
        new = signed.checkpoint
        if self.last is None:
            return Witness(self.log_key, signed)
        old = self.last.checkpoint
        if new.size < old.size:
            raise StepBackError(
                f"log {quote_untrusted(new.origin)} had {old.size} entries, and shows "
                f"{new.size} now",
                remedy=_REMEDY,
            )
        try:
            verify_consistency(
                old_size=old.size,
                old_root=old.root,
                new_size=new.size,
                new_root=new.root,
                proof=proof,
            )
        except ConsistencyError as error:
            raise ForkError(_told(old, new, error), remedy=_REMEDY) from error
        return Witness(self.log_key, signed)

    def stored(self) -> bytes | None:
        """Return what :meth:`restore` reads."""
        return self.last.note.to_bytes() if self.last is not None else None


def _told(old: Checkpoint, new: Checkpoint, error: ConsistencyError) -> str:
    return (
        f"log {quote_untrusted(new.origin)} is forked: its tree of {new.size} entries "
        f"({new.root.hex()[:16]}) was not shown to extend that of {old.size} "
        f"({old.root.hex()[:16]}): {error.message}"
    )
