"""The names of a log that was restored from a backup: the first one, and when it was restored.

A restored log may lack entries that witnesses have seen, and then holds others in their place. So
it is another log. Its name begins with the one of the log that it was before, so that a witness
knows which alarm to give.
"""

from __future__ import annotations

import secrets
from datetime import datetime

from pki.transparency.note import ED25519, VerifierKey

_RESTORED = "/restored-"


def restored_origin(first: str, *, at: datetime) -> str:
    """Return a new name for a log that is restored.

    Args:
        first: the name that it had before its first restore.
        at: the time of the restore, in UTC.
    """
    # By chance too, because one backup may be restored twice.
    return f"{first}{_RESTORED}{at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def sibling_key(note: bytes, key: VerifierKey) -> VerifierKey | None:
    """Return the key of the log that a note is of, if that log has this key too, by its name.

    Args:
        note: a signed checkpoint.
        key: of a log, perhaps one that was restored.

    Returns:
        The same key under the note's own origin; None if that is no other name of this log.
    """
    origin = note.partition(b"\n")[0].decode(errors="replace")
    first = key.name.partition(_RESTORED)[0]
    if origin == key.name or not (origin == first or origin.startswith(f"{first}{_RESTORED}")):
        return None
    return VerifierKey(origin, ED25519, key.public_key)
