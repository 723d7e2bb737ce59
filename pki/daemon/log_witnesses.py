"""What the witnesses of the audit log accepted last: kept, checked against the log, handed out.

1. Only what the log's own key signed is taken, and only from the workload whose name the key has.
2. A checkpoint that is not on this history is the witness's proof that somebody changed it: it is
   refused, and told.
3. Each witness sees what others accepted, with proofs: so who shows two witnesses two histories is
   found out by both.
4. Workers of one CA share the file. Each takes over what the others have written to it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from pki.authority.context import AuthorityContext
from pki.authority.ledger import Transaction
from pki.background import defer
from pki.daemon.log_views import LogView, LogViews, log_key_of
from pki.errors import InputError, NotPermittedError, PkiError, quote_untrusted
from pki.files import read_bounded, write_durably
from pki.files.open_folder import PUBLIC
from pki.identity import SpiffeId
from pki.transparency import (
    SignedCheckpoint,
    SignedNote,
    TransparencyError,
    VerifierKey,
    open_checkpoint,
    tree_root,
    verify_cosignatures,
)

log = logging.getLogger("handfast.ca")

FILE = "audit.cosigned.json"
_MOST_WITNESSES, _MOST_SHOWN = 64, 16
# The instances of one workload; nobody pushes others out by making keys.
_MOST_OF_ONE_NAME = 4
_MOST_BYTES = 1024 * 1024
_WRITE_SECONDS = 10.0


class LogWitnesses:
    """The witnesses of one CA's log, the latest of them.

    Args:
        context: the CA.
    """

    def __init__(self, context: AuthorityContext) -> None:
        self._context = context
        self._file: Path = context.directory.path / FILE
        self._views = LogViews(context)
        self._lock = threading.Lock()
        self._accepted: OrderedDict[str, SignedCheckpoint] = OrderedDict()
        self._written_at = 0.0
        # The file as it was read or written last.
        self._seen: tuple[int, int] | None = None
        self.disputed = 0
        """How many checkpoints of witnesses were not on this history."""
        self._load_if_changed()

    def __len__(self) -> int:
        """Return how many witnesses there are."""
        return len(self._accepted)

    def view(self, since: int, own_name: str) -> LogView:
        """Return the newest checkpoint, for a witness that accepted one before.

        Args:
            since: how many entries that one has.
            own_name: the witness's; its own cosignatures are left out.

        Raises:
            StateError: if there is no checkpoint yet.
        """
        self._load_if_changed()
        with self._lock:
            others = [
                (key, signed)
                for key, signed in reversed(self._accepted.items())
                if VerifierKey.parse(key).name != own_name
            ][:_MOST_SHOWN]
        return self._views.view(since, others)

    def add(self, caller: SpiffeId, note: bytes, key: str) -> None:
        """Take a checkpoint that a witness cosigned.

        Raises:
            NotPermittedError: if the key has another name than the caller.
            InputError: if it is malformed or not signed by both, or not on this history.
        """
        try:
            witness = VerifierKey.parse(key)
            if witness.name != str(caller):
                raise NotPermittedError(
                    f"{caller} can't cosign for {quote_untrusted(witness.name)}"
                )
            with self._context.ledger.snapshot() as transaction:
                signed = _checked(transaction, note, witness)
                is_ours = _is_on_history(transaction, signed)
        except TransparencyError as error:
            raise InputError(str(error)) from error
        if not is_ours:
            self.disputed += 1
            defer(
                log.error,
                "%s has a checkpoint of %d entries that is not on the audit log's history: the "
                "ledger was rewritten, or an older copy was accepted. See: handfast audit verify",
                caller,
                signed.checkpoint.size,
            )
            raise InputError("this checkpoint is not on the history of the audit log")
        self._keep(key, signed, is_newest=True)
        if time.monotonic() - self._written_at > _WRITE_SECONDS:
            self.save()

    def _keep(self, key: str, signed: SignedCheckpoint, *, is_newest: bool = False) -> None:
        """Keep a checkpoint that was checked, unless a later one of this witness is known.

        Args:
            key: the witness's.
            signed: what it accepted.
            is_newest: whether it was accepted after all that is known.
        """
        name = VerifierKey.parse(key).name
        with self._lock:
            known = self._accepted.get(key)
            is_older = known is not None and known.checkpoint.size >= signed.checkpoint.size
            if is_older and not is_newest:
                return
            self._accepted[key] = signed
            self._accepted.move_to_end(key)
            same = [item for item in self._accepted if VerifierKey.parse(item).name == name]
            for item in same[:-_MOST_OF_ONE_NAME]:
                del self._accepted[item]
            while len(self._accepted) > _MOST_WITNESSES:
                self._accepted.popitem(last=False)

    def save(self) -> None:
        """Write them down. They come anew from the witnesses too, so a failure is only told."""
        self._load_if_changed()
        self._written_at = time.monotonic()
        with self._lock:
            kept = [[key, item.note.to_bytes().decode()] for key, item in self._accepted.items()]
        try:
            write_durably(self._file, json.dumps(kept, indent=1).encode(), mode=PUBLIC)
        except (PkiError, OSError) as error:
            defer(log.warning, "cosignatures could not be written: %s", error)
        self._seen = self._status()

    def _status(self) -> tuple[int, int] | None:
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _load_if_changed(self) -> None:
        # Before it is read: what is written meanwhile is read the next time.
        status = self._status()
        if status != self._seen:
            self._seen = status
            self._load()

    def _load(self) -> None:
        try:
            data, _ = read_bounded(self._file, max_bytes=_MOST_BYTES)
            entries = list(json.loads(data))
        except FileNotFoundError:
            return
        except (PkiError, ValueError, TypeError, RecursionError) as error:
            defer(log.warning, "%s can't be used: %s", self._file, error)
            return
        for entry in entries:
            try:
                self._load_entry(entry)
            except (PkiError, ValueError, TypeError, AttributeError) as error:
                defer(log.warning, "a checkpoint in %s can't be used: %s", self._file, error)

    def _load_entry(self, entry: Any) -> None:
        key, note = entry
        with self._context.ledger.snapshot() as transaction:
            signed = _checked(transaction, note.encode(), VerifierKey.parse(key))
            is_ours = _is_on_history(transaction, signed)
        if is_ours:
            self._keep(key, signed)
            return
        self.disputed += 1
        defer(log.error, "a checkpoint in %s is not on the audit log's history", self._file)


def _checked(transaction: Transaction, note: bytes, witness: VerifierKey) -> SignedCheckpoint:
    """Return a checkpoint that the log signed and this witness cosigned, without other lines."""
    log_key = log_key_of(transaction)
    signed = open_checkpoint(note, [log_key])
    if not verify_cosignatures(signed.note, [witness]):
        raise InputError(f"{quote_untrusted(witness.name)} did not cosign this checkpoint")
    # One line of each, whatever the witness has added: its note is read again, by others too.
    lines = tuple(
        next(item for item in signed.note.signatures if item.is_by(key))
        for key in (log_key, witness)
    )
    return SignedCheckpoint(signed.checkpoint, SignedNote(signed.note.text, lines))


def _is_on_history(transaction: Transaction, signed: SignedCheckpoint) -> bool:
    checkpoint = signed.checkpoint
    return (
        checkpoint.size <= transaction.audit.head().size
        and tree_root(transaction.audit, checkpoint.size) == checkpoint.root
    )
