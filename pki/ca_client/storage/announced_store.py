"""What the CA announced and no list holds yet, kept beside the lists in the identity's directory.

A signed list follows an announcement within seconds. A workload that starts again in between, while
the CA can't be reached, must refuse what it has heard of: so each announcement is written down, and
counts from the first moment after a restart. It is forgotten once a list of its issuer holds it, or
a day after the end of its certificate, which nobody accepts then. It is not forgotten for a later
list that lacks it: such a list is of a CA that has lost the revocation, and what is revoked stays
revoked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pki.errors import InputError, quote_untrusted
from pki.files import HANDFAST, read_bounded, remove_durably, write_durably
from pki.files.open_folder import PRIVATE
from pki.x509.revocation import Announced

ANNOUNCED = ".handfast-announced.json"
AnnouncedUntil = Mapping[Announced, int]
"""Announced revocations, each with the end of its certificate in seconds since 1970."""
# Clocks that go wrong for some time must not bring a certificate back.
_AFTER_END = timedelta(days=1)
_MOST = 100_000
_MOST_BYTES = 16 * 1024 * 1024
_VERSION = 1


def still_needed(
    announced: AnnouncedUntil, unlisted: frozenset[Announced], *, now: datetime
) -> dict[Announced, int]:
    """Return which announcements must be kept.

    Args:
        announced: those that are kept, and new ones.
        unlisted: those that no list holds.
        now: the time.
    """
    begin = int((now - _AFTER_END).timestamp())
    return {item: end for item, end in announced.items() if item in unlisted and end >= begin}


class AnnouncedStore:
    """The file of one identity.

    Args:
        directory: of the identity; it exists.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / ANNOUNCED

    def load(self) -> dict[Announced, int]:
        """Return what was kept.

        Raises:
            PkiError: if the file is damaged: then nobody knows what was announced.
        """
        try:
            data, _ = read_bounded(self._path, max_bytes=_MOST_BYTES)
        except FileNotFoundError:
            return {}
        try:
            document: Any = json.loads(data)
            if document["version"] != _VERSION:
                raise self._damaged()
            return {
                (bytes.fromhex(key_id), int(serial, 16)): int(end)
                for key_id, serial, end in document["announced"]
            }
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._damaged() from None

    def save(self, announced: AnnouncedUntil) -> None:
        """Keep these and no others; they are on disk when this returns.

        Raises:
            StateError: if they can't be written.
        """
        if not announced:
            remove_durably(self._path)
            return
        # The bound is for what reads the file. Those that end last are needed for longest.
        newest = sorted(announced.items(), key=lambda item: item[1], reverse=True)[:_MOST]
        rows = [[key_id.hex(), f"{serial:x}", end] for (key_id, serial), end in newest]
        text = json.dumps({"version": _VERSION, "announced": rows}, separators=(",", ":"))
        write_durably(self._path, text.encode() + b"\n", mode=PRIVATE, like=HANDFAST.key)

    def _damaged(self) -> InputError:
        return InputError(
            f"{quote_untrusted(self._path)} is damaged: what was revoked last is not known",
            remedy="Move it away once the CA can be reached, which tells it again",
        )
