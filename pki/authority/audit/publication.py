"""Publish the log's newest checkpoint beside the trust bundle, for witnesses and for the verifier.

1. A checkpoint is signed after the commit that it covers, never before: a tree that was signed and
   then rolled back would be a fork.
2. The ledger decides. A published checkpoint that is behind is the trace of a crash, and is signed
   anew. One that is ahead, or not on the ledger's own history, ends the operation: this ledger is
   an older copy, or somebody rewrote it.
3. A checkpoint that can't be signed or written now holds up nothing: what happened is recorded, and
   the next commit or opening publishes it. So it is written without waiting for the disk.
"""

from __future__ import annotations

import logging
import os

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger import Transaction
from pki.authority.ledger.audit import AuditHead
from pki.authority.signers import FileSigner
from pki.errors import OlderLedgerError, PkiError, StateError, quote_untrusted
from pki.files import locked
from pki.files.atomic import read_file_in
from pki.files.open_folder import PUBLIC, opened_folder
from pki.identity import TrustDomain
from pki.keys import KeyType, generate_key
from pki.transparency import (
    Checkpoint,
    TransparencyFormatError,
    VerifierKey,
    open_checkpoint,
    tree_root,
)
from pki.transparency.note import MAX_NOTE_BYTES

CHECKPOINT = "audit.checkpoint"
VERIFIER_KEY = "audit.vkey"
_WHAT = "the audit log's key"
_WAIT_SECONDS = 5.0
_log = logging.getLogger(__name__)


def log_origin(verifier_key: str | None, trust_domain: TrustDomain) -> str:
    """Return the name of a CA's audit log, which another one takes with each restore.

    Args:
        verifier_key: the log's public key as a vkey; None if it has none yet.
        trust_domain: of the CA.
    """
    try:
        return (
            trust_domain.audit_log if verifier_key is None else VerifierKey.parse(verifier_key).name
        )
    except TransparencyFormatError:
        # Somebody changed it: who verifies the log, or signs a checkpoint, says so.
        return trust_domain.audit_log


class CheckpointPublication:
    """Signs and writes checkpoints of one CA.

    Args:
        directory: the CA's directory.
        origin: the log's name.
        passphrase: of the CA's keys.
    """

    def __init__(
        self, directory: AuthorityDirectory, origin: str, passphrase: bytes | None
    ) -> None:
        self._directory = directory
        self._origin = origin
        self._passphrase = passphrase
        self._key: Ed25519PrivateKey | None = None
        self._written: tuple[bytes, Checkpoint] | None = None

    def make_key(self) -> str:
        """Make the log's key, or read the one of an interrupted attempt; return its vkey.

        Called only while the ledger names no key.

        Raises:
            PkiError: if it can't be written or read.
        """
        if not os.path.lexists(self._directory.audit_key):
            key = generate_key(KeyType.ED25519)
            signer = FileSigner(key, self._passphrase)
            self._directory.write_signer(self._directory.audit_key, signer)
        self._key = self._read_key()
        return str(VerifierKey.of(self._origin, self._key.public_key()))

    def _publish_key(self, head: AuditHead) -> None:
        if head.verifier_key is not None:
            line = head.verifier_key.encode() + b"\n"
            if self._read(VERIFIER_KEY) != line:
                self._write(VERIFIER_KEY, line)

    def refuse_rewritten(self, transaction: Transaction) -> None:
        """Refuse a ledger on whose history the published checkpoint is not.

        Raises:
            OlderLedgerError: if the ledger's log has fewer entries, or others.
        """
        head = transaction.audit.head()
        published = self._published(head)
        if published is None:
            return
        if (published.size, published.root) == (head.size, head.root):
            return
        if published.size > head.size:
            why = f"it has {head.size} entries, and {published.size} were published"
        elif tree_root(transaction.audit, published.size) != published.root:
            why = f"its first {published.size} entries are not those that were published"
        else:
            return
        raise OlderLedgerError(
            "the audit log is not the one of "
            f"{quote_untrusted(self._directory.path / CHECKPOINT)}: {why}, so this ledger is an "
            "older copy or was rewritten",
            remedy="See what differs: handfast audit verify. Bring the newest ledger back; if it "
            "is lost for good: handfast ca recover",
        )

    def lost_checkpoint(self, transaction: Transaction) -> Checkpoint | None:
        """Return the published checkpoint if the ledger's log is not on its history, else None."""
        try:
            self.refuse_rewritten(transaction)
        except OlderLedgerError:
            return self._published(transaction.audit.head())
        return None

    def set_aside(self, lost: Checkpoint) -> None:
        """Rename a checkpoint that the ledger does not hold, so that it stays as evidence."""
        with opened_folder(self._directory.path) as folder:
            folder.rename(CHECKPOINT, f"audit.lost-{lost.size}.checkpoint")
            folder.sync()

    def after_entries(self, head: AuditHead) -> None:
        """Publish after a commit. What goes wrong is logged: the commit stands."""
        self._publish_if_possible(head)

    def publish_all(self, head: AuditHead) -> None:
        """Publish the log's public key too; else as :meth:`after_entries`."""
        self._publish_if_possible(head, with_key=True)

    def _publish_if_possible(self, head: AuditHead, *, with_key: bool = False) -> None:
        try:
            if with_key:
                self._publish_key(head)
            self.publish(head)
        except (PkiError, OSError) as error:
            _log.warning("the audit log's checkpoint could not be published: %s", error)

    def publish(self, head: AuditHead) -> None:
        """Sign and write the checkpoint of the log as it was committed.

        Raises:
            PkiError: if it can't be signed or written.
        """
        if head.verifier_key is None:
            return
        with locked(self._directory.path, name=".audit.lock", wait_seconds=_WAIT_SECONDS):
            # Another process may have published a later commit meanwhile.
            published = self._published(head)
            if published is not None and (
                published.size > head.size
                or (published.size, published.root) == (head.size, head.root)
            ):
                return
            self._key = self._key or self._read_key(head.verifier_key)
            checkpoint = Checkpoint(self._origin, head.size, head.root)
            note = checkpoint.sign(self._key).to_bytes()
            self._write(CHECKPOINT, note)
            self._written = (note, checkpoint)

    def read(self) -> bytes | None:
        """Return the published checkpoint as it is; None if there is none.

        Raises:
            StateError: if it can't be read.
        """
        return self._read(CHECKPOINT)

    def _read(self, name: str) -> bytes | None:
        try:
            with opened_folder(self._directory.path) as folder:
                return read_file_in(folder, name, max_bytes=MAX_NOTE_BYTES)[0]
        except FileNotFoundError:
            return None

    def _published(self, head: AuditHead) -> Checkpoint | None:
        """Return the published checkpoint; None if there is none that this log's key signed."""
        if head.verifier_key is None:
            return None
        try:
            data = self.read()
            if data is None:
                return None
            if self._written is not None and self._written[0] == data:
                return self._written[1]
            key = VerifierKey.parse(head.verifier_key)
            return open_checkpoint(data, [key]).checkpoint
        except PkiError:
            return None

    def _read_key(self, verifier_key: str | None = None) -> Ed25519PrivateKey:
        key = self._directory.read_key(self._directory.audit_key, self._passphrase, what=_WHAT)
        if not isinstance(key, Ed25519PrivateKey):
            raise StateError(f"{_WHAT} is no Ed25519 key")
        own = str(VerifierKey.of(self._origin, key.public_key()))
        if verifier_key not in {None, own}:
            raise StateError(
                f"{quote_untrusted(self._directory.audit_key)} is not {_WHAT} that the ledger "
                f"names: it has the vkey {own}",
                remedy="Bring the right one back from a backup",
            )
        return key

    def _write(self, name: str, data: bytes) -> None:
        with opened_folder(self._directory.path) as folder:
            folder.write(name, data, mode=PUBLIC, is_durable=False)
