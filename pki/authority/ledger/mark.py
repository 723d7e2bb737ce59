"""The mark beside the ledger: by it an older copy of the ledger is known for what it is.

A copy that was put back has forgotten what was revoked since. So each commit that changes something
has a sequence number, and after the commit, never before, the ledger's id and that number are
written into a file beside it. The rules:

1. A mark that is behind is a crash, or another process, between commit and mark: it is brought up.
2. A mark that is ahead proves that the ledger is an older copy: nothing is done with it.
3. A mark with another id is of another ledger: nothing is done.
4. No mark, and more than one commit: it was lost, and nobody can tell: nothing is done.

``handfast ca recover`` is the way on from the last three.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pki.errors import OlderLedgerError, StateError, quote_untrusted
from pki.files import locked, read_bounded, write_durably
from pki.files.atomic import PRIVATE

_MAX_BYTES = 1024
# No CA comes near it, and the ledger's columns take 63 bits: a higher number is damage.
_MAX_SEQUENCE = 1 << 48
# Whoever waits here has a transaction open, which holds up every other one.
_WAIT_SECONDS = 5.0
_REMEDY = (
    "Bring the newest ledger back; if it is lost for good: handfast ca recover, which keeps "
    "revoked what the published lists revoke"
)


@dataclass(frozen=True, slots=True)
class LedgerState:
    """Which ledger it is, and how many commits have changed it."""

    ledger_id: str
    sequence: int


class LedgerMark:
    """The file that holds the state of the newest commit."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> LedgerState | None:
        """Return what the mark says; None if there is none.

        Raises:
            StateError: if it can't be read.
        """
        try:
            data, _ = read_bounded(self._path, max_bytes=_MAX_BYTES)
        except FileNotFoundError:
            return None
        try:
            document = json.loads(data.decode())
            state = LedgerState(document["ledger"], document["sequence"])
        except (ValueError, TypeError, KeyError, RecursionError):
            state = LedgerState("", -1)
        if not (isinstance(state.ledger_id, str) and isinstance(state.sequence, int)) or (
            isinstance(state.sequence, bool) or not 0 <= state.sequence <= _MAX_SEQUENCE
        ):
            raise OlderLedgerError(
                f"{quote_untrusted(self._path)} is no ledger's mark", remedy=_REMEDY
            )
        return state

    def compare(self, ledger: LedgerState) -> StateError | None:
        """Hold the ledger against the mark; call it within a transaction of the ledger.

        Returns:
            Why the mark is behind and can't be brought up: nothing may be changed then, but what is
            recorded can be read and published. None if the mark is the ledger's.

        Raises:
            OlderLedgerError: if the ledger is an older copy, another one, or nobody can tell.
        """
        mark = self.read()
        if mark is None:
            # The first commit makes the CA; a crash right after it leaves no mark.
            if ledger.sequence > 1:
                raise OlderLedgerError(
                    f"{quote_untrusted(self._path)} is not there: whether this ledger is "
                    "the newest can't be "
                    "told",
                    remedy=_REMEDY,
                )
        elif mark.ledger_id != ledger.ledger_id:
            raise OlderLedgerError(
                f"{quote_untrusted(self._path)} is the mark of another ledger than the one "
                "beside it",
                remedy=_REMEDY,
            )
        elif mark.sequence > ledger.sequence:
            raise OlderLedgerError(
                f"the ledger is an older copy: it ends with commit {ledger.sequence}, and the mark "
                f"{quote_untrusted(self._path)} knows of commit {mark.sequence}",
                remedy=_REMEDY,
            )
        if mark is None or mark.sequence < ledger.sequence:
            try:
                self.follow(ledger)
            except OlderLedgerError:
                raise
            except StateError as error:
                return error
        return None

    def follow(self, ledger: LedgerState, *, replace: bool = False) -> None:
        """Write the state of a commit that is durable; never a lower number over a higher one.

        Args:
            ledger: the state after the commit.
            replace: write it over another ledger's mark too.

        Raises:
            StateError: if it can't be written.
        """
        # Off with other writers: the mark of an earlier commit never comes after a later one's.
        with locked(self._path.parent, name=f".{self._path.name}.lock", wait_seconds=_WAIT_SECONDS):
            mark = self.read() if not replace else None
            if mark is not None and (
                mark.ledger_id != ledger.ledger_id or mark.sequence >= ledger.sequence
            ):
                return
            document = {"ledger": ledger.ledger_id, "sequence": ledger.sequence}
            write_durably(self._path, json.dumps(document).encode() + b"\n", mode=PRIVATE)
