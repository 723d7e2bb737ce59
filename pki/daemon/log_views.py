"""The newest checkpoint with its proofs, made once for all witnesses that ask within a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pki.authority.context import AuthorityContext
from pki.authority.ledger import Transaction
from pki.errors import StateError
from pki.transparency import (
    SignedCheckpoint,
    VerifierKey,
    consistency_proof,
    open_checkpoint,
)

_KEPT_SECONDS = 1.0
_MOST_PROOFS = 4096


@dataclass(frozen=True, slots=True)
class Accepted:
    """A checkpoint that a witness accepted and cosigned, and the proof that leads from it.

    Args:
        key: the witness's, as a vkey.
        note: the signed note.
        consistency: from it to the newest checkpoint.
    """

    key: str
    note: bytes
    consistency: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LogView:
    """What one witness is shown.

    Args:
        note: the newest checkpoint.
        consistency: the proof from the checkpoint that the witness has.
        others: what other witnesses accepted.
    """

    note: bytes
    consistency: tuple[bytes, ...]
    others: tuple[Accepted, ...]


@dataclass(frozen=True, slots=True)
class _Shown:
    note: bytes
    size: int
    at: float
    proofs: dict[int, tuple[bytes, ...]] = field(default_factory=dict)


class LogViews:
    """Makes the views of one CA's log. Safe for use by several threads.

    A proof takes a dozen queries, and thousands of workloads ask while the log grows: within a
    second, all are shown the same checkpoint, but for who has seen as much or more.

    Args:
        context: the CA.
        monotonic: returns seconds that only grow.
    """

    def __init__(
        self, context: AuthorityContext, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = context
        self._monotonic = monotonic
        self._shown: _Shown | None = None

    def view(self, since: int, others: Sequence[tuple[str, SignedCheckpoint]]) -> LogView:
        """Return the view of a witness.

        Args:
            since: how many entries the checkpoint has that it accepted before.
            others: what other witnesses accepted, with their keys.

        Raises:
            StateError: if there is no checkpoint yet.
        """
        shown = self._newest(since)
        sizes = (since, *(signed.checkpoint.size for _, signed in others))
        proofs = self._proofs(shown, sizes)
        return LogView(
            shown.note,
            proofs.get(since, ()),
            tuple(
                Accepted(key, signed.note.to_bytes(), proofs[signed.checkpoint.size])
                for key, signed in others
                if signed.checkpoint.size <= shown.size
            ),
        )

    def _newest(self, since: int) -> _Shown:
        shown, now = self._shown, self._monotonic()
        if shown is not None and since < shown.size and now - shown.at < _KEPT_SECONDS:
            return shown
        self._publish_others()
        published = self._context.publication.read()
        if published is None:
            raise StateError("the audit log has no published checkpoint yet")
        if shown is not None and published == shown.note:
            return shown
        with self._context.ledger.snapshot() as transaction:
            newest = open_checkpoint(published, [log_key_of(transaction)]).checkpoint
        shown = self._shown = _Shown(published, newest.size, now)
        return shown

    def _publish_others(self) -> None:
        """Sign what other replicas have added: a witness that comes from one must see no less."""
        if not self._context.ledger.place.is_shared:
            return
        with self._context.ledger.snapshot() as transaction:
            head = transaction.audit.head()
        self._context.publication.after_entries(head)

    def _proofs(self, shown: _Shown, sizes: Iterable[int]) -> dict[int, tuple[bytes, ...]]:
        """Return the proofs from all of these sizes that are no larger than the checkpoint."""
        wanted = {size for size in sizes if size <= shown.size}
        found = {size: shown.proofs[size] for size in wanted if size in shown.proofs}
        if missing := wanted - found.keys():
            with self._context.ledger.snapshot() as transaction:
                for size in missing:
                    found[size] = consistency_proof(
                        transaction.audit, old_size=size, new_size=shown.size
                    )
            # Callers choose the sizes: no more is kept than many of them share.
            if len(shown.proofs) < _MOST_PROOFS:
                shown.proofs.update({size: found[size] for size in missing})
        return found


def log_key_of(transaction: Transaction) -> VerifierKey:
    """Return the key of the audit log.

    Raises:
        StateError: if it has none yet.
    """
    key = transaction.audit.verifier_key()
    if key is None:
        raise StateError("the audit log has no key yet")
    return VerifierKey.parse(key)
