"""Make a CA of a backup, in a folder where nothing is.

1. The whole backup is verified before anything is written, and all is written beside the new CA's
   folder. That is put in its place at the end, so a restore that was interrupted leaves no CA. What
   one that was killed leaves, the next one removes.
2. The ledger gets a new id: the ledger that it was copied from is refused beside it, and followers
   ask for everything anew.
3. What was revoked after the backup is not in it. So nothing is signed, no list either, before the
   ledger has the newest list of every issuer that receivers hold, or all issuing CAs are
   distrusted (``pki.authority.backups.resuming``).
4. What could be used once more is void: tokens, and the recovery keys of all lines, because nobody
   knows how often they recovered since. JWTs from before the restore are refused. A registration
   counts once an admin has confirmed it: it may have been deleted or narrowed since.
5. The audit log goes on under a new origin. Its next entry names the one before, and the last
   checkpoint of it that the backup holds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from pki.authority.audit import log_origin
from pki.authority.audit.publication import CHECKPOINT
from pki.authority.backups.archive import ArchiveReader, opened_archive
from pki.authority.backups.making import FILES, LEDGER
from pki.authority.backups.manifest import Manifest
from pki.authority.backups.rows import write_rows
from pki.authority.backups.working_folder import working_folder
from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger import Transaction
from pki.authority.ledger.audit import Actor, AuditAction, AuditEntry
from pki.authority.ledger.beside.mark import LedgerMark, LedgerState
from pki.authority.ledger.databases.access import NO_TURN, WRITING
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.schema import SCHEMA_VERSION, upgrade
from pki.clock import Clock
from pki.errors import InputError, StateError, quote_untrusted
from pki.files import HANDFAST
from pki.files.atomic import make_folder
from pki.files.open_folder import PRIVATE, PUBLIC, opened_folder
from pki.transparency import VerifierKey
from pki.transparency.note import ED25519
from pki.transparency.origins import restored_origin

_REPLACED = "audit.replaced.checkpoint"
_PUBLIC_FILES = (HANDFAST.bundle, HANDFAST.crls, ".checkpoint", ".vkey")


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a backup.

    Args:
        manifest: what the backup says of itself.
        origin: the new name of the audit log.
        void_tokens: how many enrollment tokens are good no more.
        unconfirmed: the workloads whose registrations wait for an admin.
    """

    manifest: Manifest
    origin: str
    void_tokens: int
    unconfirmed: tuple[str, ...]


def restore_backup(
    backup: Path, home: Path, *, clock: Clock, ledger: LedgerPlace | None = None
) -> Restored:
    """Make a CA of a backup.

    Args:
        backup: the file.
        home: the new CA's directory; nothing is there.
        clock: returns the time.
        ledger: the empty database that shall hold its ledger; None for a file in the directory.

    Raises:
        StateError: if something is there already, or can't be written.
        InputError: if the file is no backup, is damaged, or a newer handfast made it.
    """
    if os.path.lexists(home):
        raise StateError(
            f"{quote_untrusted(home)} is there already, and a restore replaces nothing",
            remedy="Restore into a new folder: --dir NEW",
        )
    with opened_archive(backup) as archive:
        if archive.manifest.schema > SCHEMA_VERSION:
            raise InputError(
                f"the backup has schema {archive.manifest.schema}; this handfast knows "
                f"{SCHEMA_VERSION}",
                remedy="Use the newer handfast that made it",
            )
        make_folder(home.parent, give=False)
        if ledger is not None and ledger.is_shared:
            # First: a restore that was killed at its very end has left its folder to this ledger.
            ledger.create()
        with working_folder(home) as beside:
            restored = _write(archive, AuthorityDirectory(beside, elsewhere=ledger), now=clock())
            with opened_folder(home.parent) as folder:
                folder.rename(beside.name, home.name)
                folder.sync()
    return restored


def _write(archive: ArchiveReader, directory: AuthorityDirectory, *, now: datetime) -> Restored:
    directory.make()
    now = now.replace(microsecond=0)
    parts = {part.name: part for part in archive.manifest.parts}
    with opened_folder(directory.path) as folder:
        for name, part in parts.items():
            if name.startswith(FILES):
                mode = PUBLIC if name.endswith(_PUBLIC_FILES) else PRIVATE
                file = name.removeprefix(FILES)
                # The log that goes on has another name: this one stays as evidence.
                file = _REPLACED if file == CHECKPOINT else file
                folder.write(file, archive.read(part), mode=mode)
        folder.sync()
    place = directory.ledger
    restored, state = _write_ledger(archive, place, now=now)
    directory.home.remember()
    LedgerMark(place.mark(directory.path)).write(state, replace=True)
    return restored


def _write_ledger(
    archive: ArchiveReader, place: LedgerPlace, *, now: datetime
) -> tuple[Restored, LedgerState]:
    """Write the rows into tables of the backup's own version, and let the ledger begin anew.

    All in one transaction: a database would keep rows that don't say that they were restored.
    """
    place.create()
    engine = next(place.engines(WRITING))
    try:
        # No tables are there to take a turn with.
        with (
            engine.connect().execution_options(**{NO_TURN: True}) as connection,
            connection.begin(),
        ):
            upgrade(connection, archive.manifest.schema)
            write_rows(
                connection,
                (
                    (part.name.removeprefix(LEDGER).removesuffix(".jsonl"), archive.lines(part))
                    for part in archive.manifest.parts
                    if part.name.startswith(LEDGER)
                ),
            )
            place.continue_numbers(connection)
            upgrade(connection, "head")
            transaction = Transaction(connection)
            restored = _begin_anew(transaction, archive.manifest, now=now)
            transaction.flush()
            _, state = transaction.advance()
            return restored, state
    except SQLAlchemyError as error:
        raise place.unusable(error) from error
    finally:
        engine.dispose()


def _begin_anew(transaction: Transaction, manifest: Manifest, *, now: datetime) -> Restored:
    actor = Actor.local()
    trust_domain = transaction.settings().limits.trust_domain
    transaction.audit.begin(at=now, actor=actor)
    transaction.recovery.accept(sequence=transaction.state().sequence, at=now)
    transaction.recovery.note_restored(at=now)
    transaction.set_waiting(now)
    void_tokens = transaction.proofs.delete_unused_tokens()
    transaction.lines.end_all_recovery()
    transaction.registrations.unconfirm(at=now)
    head = transaction.audit.head()
    before = log_origin(head.verifier_key, trust_domain)
    origin = restored_origin(trust_domain.audit_log, at=now)
    details: dict[str, str | int] = {
        "backup_made_at": int(manifest.made_at.timestamp()),
        "origin": origin,
        "replaces": before,
        "last_size": head.size,
        "last_root": head.root.hex(),
    }
    if head.verifier_key is not None:
        key = VerifierKey.parse(head.verifier_key).public_key
        verifier_key = str(VerifierKey(origin, ED25519, key))
        transaction.audit.set_verifier_key(verifier_key)
        details["verifier_key"] = verifier_key
    transaction.audit.append(AuditEntry(AuditAction.RESTORE, now, actor, details=details))
    transaction.add_event(
        "restored",
        f"restored from a backup of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC: nothing is signed "
        "before what was revoked since is known",
        at=now,
    )
    return Restored(manifest, origin, void_tokens, transaction.registrations.unconfirmed())
