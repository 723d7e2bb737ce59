"""The mark: a file beside the ledger that shows whether the ledger is an older copy.

An older copy does not hold the revocations since it was made. So each commit that changes something
has a sequence number. After the commit, never before it, the ledger's id and that number are
written to the mark. The rules:

1. If the mark is behind the ledger, a process crashed, or still is, between commit and mark: the
   mark is written again.
2. If the mark is ahead of the ledger, the ledger is an older copy: it is refused.
3. If the mark has another id, it belongs to another ledger: the ledger is refused.
4. If there is no mark and more than one commit, the mark was lost, and the ledger may be an older
   copy: it is refused.

After a refusal, ``handfast ca recover`` is the way to continue.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pki.errors import OlderLedgerError, StateError, quote_untrusted
from pki.files import locked, write_durably
from pki.files.atomic import read_file_in
from pki.files.open_folder import PRIVATE, opened_folder

_MAX_BYTES = 1024
# No CA makes so many commits, and the ledger's columns hold 63 bits: a higher number is damage.
_MAX_SEQUENCE = 1 << 48
# Short, because whoever waits here has a transaction open, which blocks all others.
_WAIT_SECONDS = 5.0
_REMEDY = (
    "Bring the newest ledger back; if it is lost for good: handfast ca recover, which keeps "
    "revoked what the published CRLs revoke"
)


@dataclass(frozen=True, slots=True)
class LedgerState:
    """A ledger's id, and the number of commits that have changed it."""

    ledger_id: str
    sequence: int


class LedgerMark:
    """The file that holds the ledger's state after its newest commit."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> LedgerState | None:
        """Return the state in the mark; None if there is no mark.

        Raises:
            StateError: if it can't be read.
        """
        try:
            with opened_folder(self.path.parent) as folder:
                data, _ = read_file_in(folder, self.path.name, max_bytes=_MAX_BYTES)
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
                f"{quote_untrusted(self.path)} is not the mark of a ledger", remedy=_REMEDY
            )
        return state

    def compare(self, ledger: LedgerState) -> StateError | None:
        """Compare the ledger with the mark, within a transaction of the ledger.

        Returns:
            None if they agree. If the mark is behind and can't be written, the error of that: then
            nothing may be changed, but what is recorded can be read and published.

        Raises:
            OlderLedgerError: if the ledger is an older copy, or may be, or is another ledger.
        """
        mark = self.read()
        self.refuse_older(mark, ledger)
        if mark is None or mark.sequence < ledger.sequence:
            try:
                self.write(ledger)
            except OlderLedgerError:
                raise
            except StateError as error:
                return error
        return None

    def refuse_older(self, mark: LedgerState | None, ledger: LedgerState) -> None:
        """Refuse a ledger that is behind its mark, or has another one or none.

        Args:
            mark: what :meth:`read` has returned, before the ledger's own state was read, or in a
                transaction that locks others out.
            ledger: the ledger's state.

        Raises:
            OlderLedgerError: as :meth:`compare`.
        """
        if mark is None:
            # The first commit makes the CA. A crash right after it leaves no mark.
            if ledger.sequence > 1:
                raise OlderLedgerError(
                    f"{quote_untrusted(self.path)} is not there, so this ledger "
                    "may be an older copy",
                    remedy=_REMEDY,
                )
        elif mark.ledger_id != ledger.ledger_id:
            raise OlderLedgerError(
                f"{quote_untrusted(self.path)} is the mark of another ledger than the one "
                "beside it",
                remedy=_REMEDY,
            )
        elif mark.sequence > ledger.sequence:
            raise OlderLedgerError(
                f"the ledger is an older copy: it ends with commit {ledger.sequence}, and the mark "
                f"{quote_untrusted(self.path)} knows of commit {mark.sequence}",
                remedy=_REMEDY,
            )

    def write(self, ledger: LedgerState, *, replace: bool = False) -> None:
        """Write the state after a durable commit; never replace a higher number by a lower one.

        Args:
            ledger: the state after the commit.
            replace: replace the mark of another ledger too.

        Raises:
            StateError: if it can't be written.
        """
        # Locked, so that the mark of an earlier commit never replaces a later one.
        with locked(self.path.parent, name=f".{self.path.name}.lock", wait_seconds=_WAIT_SECONDS):
            mark = self.read() if not replace else None
            if mark is not None and (
                mark.ledger_id != ledger.ledger_id or mark.sequence >= ledger.sequence
            ):
                return
            document = {"ledger": ledger.ledger_id, "sequence": ledger.sequence}
            write_durably(self.path, json.dumps(document).encode() + b"\n", mode=PRIVATE)
