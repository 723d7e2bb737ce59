"""An identity as a witness of its CA's audit log.

1. Now and then it asks for the newest checkpoint, and accepts it only if it extends the one that it
   accepted last. That one is on disk before it cosigns. The more workloads there are, the more
   seldom the CA wants each of them to look, once in half an hour at least.
2. A log that was rewritten, or that went back, is told, and the evidence kept. What was accepted
   stays, and it is told until whoever has looked into it removes the files: a history that was
   shown once, and then no more, is forgotten by nobody.
3. What other witnesses accepted must lie on the same history. So a CA that shows two histories to
   two witnesses is found out, unless it also keeps each from hearing of the other. A CA that is
   hostile itself can also invent witnesses: only comparing the witnesses' files shows that.
4. A CA that was restored from a backup signs its log under another name. That is told like a log
   that was rewritten, until a root has acknowledged it: then the signed trust bundle has that name.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial

from pki._proto.handfast.ca.v1 import audit_pb2
from pki.background import defer
from pki.ca_client.bundles import Anchor
from pki.ca_client.connection import CaConnection
from pki.ca_client.rpc_errors import call
from pki.ca_client.storage.witness_store import CHECKPOINT, WitnessStore
from pki.clock import Clock
from pki.credentials.periodic import PeriodicTask
from pki.errors import PkiError
from pki.identity import SpiffeId
from pki.transparency import (
    Checkpoint,
    ConsistencyError,
    ForkError,
    StepBackError,
    VerifierKey,
    Witness,
    cosign,
    open_checkpoint,
    verify_consistency,
    verify_cosignatures,
)
from pki.transparency.note import COSIGNATURE_V1, ED25519
from pki.transparency.origins import sibling_key

log = logging.getLogger("handfast.ca_client")

_SECONDS = 10.0
_STEP_SECONDS, _MOST_SECONDS = 60.0, 1800.0


class UnknownPastError(PkiError):
    """What was accepted before can't be read, so nothing can be accepted."""


class RestoredLogError(PkiError):
    """The log has another name than the trust bundle says: the CA was restored from a backup."""


class LogWitness:
    """The witness of one identity.

    Args:
        store: where it keeps what it accepted.
        spiffe_id: its name.
        connect: returns the connection to the CA; None while there is none.
        anchor: returns what is trusted now: the log's key is in the signed bundle.
        clock: returns the time.
        monotonic: returns seconds that only grow.
    """

    def __init__(
        self,
        store: WitnessStore,
        spiffe_id: SpiffeId,
        connect: Callable[[], CaConnection | None],
        anchor: Callable[[], Anchor],
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._spiffe_id = spiffe_id
        self._connect = connect
        self._anchor = anchor
        self._clock = clock
        self._monotonic = monotonic
        self._pause, self._next_look = 0.0, 0.0
        self._lock = threading.Lock()
        self._witness: Witness | None = None
        self.problem = ""
        """Why the log is not what it was; empty if nothing is wrong."""
        self.others = 0
        """How many other witnesses' checkpoints lie on the same history."""
        # Not all at once: each at times of its own.
        seconds = _STEP_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        self._task = PeriodicTask(seconds, self._look_if_due, "handfast-witness")

    @property
    def size(self) -> int:
        """How many entries the accepted checkpoint has; 0 before the first."""
        return 0 if self._witness is None else self._witness.size

    def start(self) -> None:
        """Begin to look now and then."""
        self._task.start()

    def stop(self) -> None:
        """Stop looking."""
        self._task.stop(2.0)

    def _look_if_due(self) -> None:
        now = self._monotonic()
        if now < self._next_look:
            return
        # Also if it fails: workloads that lost the CA do not all look when it is back. A step less,
        # because the next one may come as much later.
        self._next_look = now + self._pause - _STEP_SECONDS
        self.look()

    def look(self) -> None:
        """Look at the log now. What is wrong is told, here and in :attr:`problem`."""
        with self._lock:
            try:
                self._look()
            except (ForkError, StepBackError, RestoredLogError) as error:
                if not self.problem:
                    defer(log.error, "the CA's audit log: %s", error)
                self.problem = str(error)
            except UnknownPastError as error:
                if self.problem != str(error):
                    defer(log.error, "%s", error)
                self.problem = str(error)
            except PkiError as error:
                defer(log.info, "the CA's audit log could not be looked at: %s", error)
            self.problem = self.problem or self._store.disputed()

    def _look(self) -> None:
        anchor, connection = self._anchor(), self._connect()
        if anchor.bundle is None or connection is None:
            return
        key = anchor.bundle.content.audit_key
        if key is None:
            return
        log_key = VerifierKey(anchor.bundle.content.log_origin, ED25519, key)
        if self._witness is None or self._witness.log_key != log_key:
            try:
                self._witness = self._store.load(log_key)
            except PkiError as error:
                raise UnknownPastError(
                    f"what was accepted of the CA's audit log can't be read: {error}",
                    remedy=f"Bring {CHECKPOINT} back; if it is lost, move it away to begin anew",
                ) from error
        witness, stub = self._witness, connection.audit
        request = audit_pb2.GetCheckpointRequest(since=witness.size)
        shown = call(partial(stub.GetCheckpoint, request, timeout=_SECONDS))
        # When the CA wants it, but not so late that it could hide for long.
        wanted = min(shown.look_again_seconds, _MOST_SECONDS)
        self._pause = wanted * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        try:
            _refuse_restored(shown.checkpoint, log_key)
            accepted = witness.accept(shown.checkpoint, tuple(shown.consistency))
            assert accepted.last is not None  # it was just accepted
            others = self._compare(shown.witnessed, accepted.last.checkpoint, log_key)
        except (ForkError, StepBackError, RestoredLogError):
            self._store.keep_evidence(shown.checkpoint)
            raise
        self._store.save(accepted)
        self._witness, self.others = accepted, others
        self.problem = self._store.disputed()
        own_key = self._store.key()
        own = VerifierKey.of(str(self._spiffe_id), own_key.public_key(), kind=COSIGNATURE_V1)
        signature = cosign(accepted.last.note, own.name, own_key, at=self._clock())
        note = accepted.last.note.with_signatures([signature]).to_bytes()
        send = audit_pb2.AddCosignatureRequest(checkpoint=note, key=str(own))
        call(partial(stub.AddCosignature, send, timeout=_SECONDS))

    def _compare(
        self, witnessed: Iterable[audit_pb2.Witnessed], newest: Checkpoint, log_key: VerifierKey
    ) -> int:
        """Return how many others accepted this history.

        Raises:
            ForkError: if one accepted another.
        """
        names = set()
        for item in witnessed:
            try:
                key = VerifierKey.parse(item.key)
                signed = open_checkpoint(item.checkpoint, [log_key])
                is_theirs = bool(verify_cosignatures(signed.note, [key]))
            except PkiError as error:
                defer(log.warning, "the CA sent a cosignature that can't be used: %s", error)
                continue
            if not is_theirs or key.name == str(self._spiffe_id):
                continue
            theirs = signed.checkpoint
            try:
                verify_consistency(
                    old_size=theirs.size,
                    old_root=theirs.root,
                    new_size=newest.size,
                    new_root=newest.root,
                    proof=tuple(item.consistency),
                )
            except ConsistencyError as error:
                self._store.keep_evidence(item.checkpoint)
                raise ForkError(
                    f"log {newest.origin} is forked: {key.name} accepted a tree of {theirs.size} "
                    f"entries which that of {newest.size} does not extend: {error.message}",
                    remedy=f"Keep {CHECKPOINT} of both, and find out who changed the log: "
                    "handfast audit verify",
                ) from error
            names.add(key.name)
        return len(names)


def _refuse_restored(note: bytes, log_key: VerifierKey) -> None:
    """Raise the alarm about a log that its key signed under another name."""
    sibling = sibling_key(note, log_key)
    if sibling is None:
        return
    restored = open_checkpoint(note, [sibling]).checkpoint
    raise RestoredLogError(
        f"the CA shows the audit log {restored.origin}, and the trust bundle names {log_key.name}: "
        "the CA was restored from a backup, and may have lost entries, or its log was replaced",
        remedy="Ask the CA's operators. If it was restored, an admin acknowledges that once: "
        "handfast audit acknowledge",
    )
