"""What can be wrong with a transparency log, its notes and its proofs."""

from __future__ import annotations

from pki.errors import InputError, PkiError


class TransparencyFormatError(InputError):
    """A note, checkpoint, proof, key or tile is malformed or oversized."""


class TransparencyError(PkiError):
    """A log does not hold what it claims."""


class NoteSignatureError(TransparencyError):
    """A note has no valid signature of a known key, or an invalid one of a known key."""


class InclusionError(TransparencyError):
    """A proof does not show that the log holds the entry."""


class ConsistencyError(TransparencyError):
    """A proof does not show that the newer tree extends the older one."""


class ForkError(ConsistencyError):
    """The log signed two trees, and one is no extension of the other: its history was rewritten."""


class StepBackError(TransparencyError):
    """The log shows a smaller tree than the one that it showed before."""
