"""Continue with an older copy of the ledger, if the newest one is lost for good.

What was revoked stays revoked, and the number of a CRL never decreases:

1. Every CRL of this CA that can be found is imported: those in the CA's directory, and those that
   the caller brings from receivers.
2. Each commit signed at most one CRL for each issuing CA, so the mark beside the ledger bounds how
   many are lost. Later CRLs have numbers above all of them.
3. New CRLs are signed, and the ledger gets a new id. The lost ledger is refused if it comes back.
4. The audit log has lost its newest entries too. An entry says so, and every witness of the log
   alarms: that is what witnesses are for.

What can't be recovered: certificates that were issued after the copy was made. They can't be
renewed, because the ledger does not hold them, and each ends within the longest lifetime of a leaf.
Until then they can be revoked by serial number, or all at once by distrusting their issuing CA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pki.authority.backups.resuming import (
    Resumption,
    Retirement,
    missing_lists,
    refuse_retirement,
    resume,
)
from pki.authority.context import AuthorityContext
from pki.authority.crl_import import import_crls
from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger import IssuerKind, IssuerStatus, Ledger, Transaction
from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.authority.ledger.beside.mark import LedgerState
from pki.authority.ledger.hierarchy import trusted_roots
from pki.authority.lifetimes import MAX_LEAF
from pki.authority.pending.record import PendingEntry
from pki.errors import InputError, PkiError, StateError, UnreadableError, quote_untrusted
from pki.files import HANDFAST
from pki.files.atomic import read_file_in
from pki.files.open_folder import opened_folder
from pki.transparency import Checkpoint
from pki.x509 import CrlSet, TrustBundle
from pki.x509.readers import MAX_BUNDLE_BYTES
from pki.x509.revocation import IssuerId

# The number of a root's CRL that is signed ahead is higher by up to six, one for each CA revoked.
_NUMBERS_PER_COMMIT = 8
# Skipped if the mark is lost too, so that nothing tells how many CRLs there were.
UNKNOWN_NUMBERS = 1 << 24


@dataclass(frozen=True, slots=True)
class RecoveryResult:
    """The result of a recovery.

    Args:
        lost_commits: how many commits the ledger had lost; None if unknown.
        was_older: whether the ledger was an older copy, or may have been.
        imported_from: the key ids of the CAs whose CRLs were newer than the ledger.
        unknown_end_by: when the last certificate that the ledger does not hold ends at the latest.
        kept: the revoked certificates whose issuing CA the ledger does not know.
        resumption: for a CA that was restored from a backup and waited for lists: whether it signs
            again; None for any other.
    """

    lost_commits: int | None
    was_older: bool
    imported_from: tuple[str, ...]
    unknown_end_by: datetime | None
    kept: tuple[PendingEntry, ...] = ()
    resumption: Resumption | None = None


def recover(
    context: AuthorityContext,
    published: Sequence[CrlSet],
    retirement: Retirement | None = None,
) -> RecoveryResult:
    """Import the published CRLs into the ledger, and accept it as the newest one.

    A ledger that is the newest keeps its id. If a CRL is newer than the ledger, the ledger is an
    older copy, whatever its mark says.

    Args:
        context: the CA.
        published: every CRL that could be found, besides those in the CA's directory.
        retirement: for a CA that was restored from a backup: distrust all issuing CAs of before.

    Raises:
        StateError: if the ledger belongs to another CA, or the key for a CRL that must be signed is
            not there; then nothing is changed.
        WrongStepError: if a CA shall retire that was not restored.
    """
    resumption = None
    with context.directory.publishing():
        own = context.directory.read_published(unless=CrlSet.none())
        crl_sets = [*([own] if own is not None else []), *published]
        now = context.now()
        with context.ledger.transaction(accept_older=True) as transaction:
            waits = transaction.waits
            if retirement is not None and not waits:
                raise refuse_retirement()
            missing = missing_lists(transaction, published, now=now) if waits else ()
            unknown_roots = _roots_published_since(context.directory, transaction)
            transaction.audit.begin(at=now, actor=context.actor)
            lost_log = context.publication.lost_checkpoint(transaction)
            state = transaction.state()
            mark = _read_mark(context.ledger)
            lost = _lost_commits(state, mark)
            imported: dict[int, str] = {}
            for crls in crl_sets:
                touched, _ = import_crls(transaction, crls, now=now, actor=context.actor)
                imported.update({item.id: item.key_id for item in touched})
            if waits:
                # Restored under a new id: it has lost what the lists show, and nothing else.
                lost = 0
                resumption = resume(context, transaction, published, missing, retirement)
            elif lost == 0 and (imported or lost_log is not None):
                # The whole directory was put back, mark included, so the mark says nothing.
                lost = None
            if lost != 0:
                _raise_crl_floors(transaction, lost, crl_sets)
                sequence = max(state.sequence, mark.sequence if mark is not None else 0)
                transaction.recovery.accept(sequence=sequence, at=now)
                transaction.add_event(
                    "recovered",
                    f"an older ledger was accepted: it had lost "
                    f"{'an unknown number of' if lost is None else lost} commits",
                    at=now,
                )
                transaction.audit.append(_audit_entry(context, lost, lost_log))
            if lost != 0 or (resumption is not None and resumption.is_done):
                _sign_crls(context, transaction)
                if unknown_roots:
                    _tell_unknown_roots(transaction, unknown_roots, now)
        if lost_log is not None:
            context.publication.set_aside(lost_log)
    context.publish()
    return RecoveryResult(
        lost,
        lost != 0,
        tuple(imported.values()),
        now + MAX_LEAF if lost != 0 else None,
        context.pending.kept(now=now),
        resumption,
    )


def _audit_entry(
    context: AuthorityContext, lost: int | None, lost_log: Checkpoint | None
) -> AuditEntry:
    """Return the entry that tells witnesses why the log is not the one that they saw."""
    details: dict[str, Any] = {} if lost is None else {"lost_commits": lost}
    if lost_log is not None:
        details |= {"lost_log_size": lost_log.size, "lost_log_root": lost_log.root.hex()}
    return context.audit_entry(AuditAction.RECOVER, **details)


def import_held_crls(context: AuthorityContext, crls: CrlSet) -> bool:
    """Import CRLs that receivers hold into the ledger; return whether they held something new.

    Raises:
        StateError: if a new CRL must be signed, and the key for it is not there.
    """
    with context.ledger.transaction() as transaction:
        is_new = context.import_crls(crls, transaction, skip_numbers=UNKNOWN_NUMBERS)
        if is_new:
            # The ledger may lack valid certificates; from now on they can be revoked by number.
            transaction.recovery.note_older(at=context.now())
    return is_new


def _lost_commits(state: LedgerState, mark: LedgerState | None) -> int | None:
    if mark is None:
        return 0 if state.sequence <= 1 else None
    if mark.ledger_id != state.ledger_id:
        return None
    return max(0, mark.sequence - state.sequence)


def _read_mark(ledger: Ledger) -> LedgerState | None:
    try:
        return ledger.mark.read()
    except UnreadableError:
        raise
    except StateError:
        # A damaged mark says no more than a missing one.
        return LedgerState("", 0)


def _raise_crl_floors(
    transaction: Transaction, lost: int | None, crl_sets: Sequence[CrlSet]
) -> None:
    skipped = UNKNOWN_NUMBERS if lost is None else lost * _NUMBERS_PER_COMMIT
    for issuer in transaction.issuers():
        name = IssuerId.of_ca(issuer.certificate)
        if issuer.kind is IssuerKind.ROOT and any(name in crls.crls for crls in crl_sets):
            # Imported already, and few are ever signed. A higher floor would make the root's CRLs
            # that are signed ahead useless, and with them a distrust without the root's key.
            continue
        current = transaction.crls.current(issuer.id)
        highest = max(
            current.number if current is not None else 0,
            transaction.recovery.crl_floor(issuer.id),
        )
        if issuer.kind is IssuerKind.ROOT:
            highest = max(highest, transaction.crls.highest_presigned_number(issuer.id))
        transaction.recovery.raise_crl_floor(issuer.id, highest + skipped)


def _sign_crls(context: AuthorityContext, transaction: Transaction) -> None:
    now = context.now()
    for issuer in transaction.issuers():
        ended = issuer.certificate.not_valid_after_utc < now
        if issuer.kind is IssuerKind.ROOT or ended or issuer.status is IssuerStatus.WITHDRAWN:
            continue
        try:
            context.refresh_crl(issuer, transaction)
        except StateError:
            # The key of a distrusted CA may be destroyed; nobody needs its CRL any more.
            if issuer.status is not IssuerStatus.DISTRUSTED:
                raise
    for root in trusted_roots(transaction.issuers()):
        if context.root_ca_if_there(root, transaction) is not None:
            context.refresh_root_crls(root, transaction)


def _roots_published_since(
    directory: AuthorityDirectory, transaction: Transaction
) -> tuple[x509.Certificate, ...]:
    """Return the roots in the published trust bundle that the ledger does not know.

    Raises:
        StateError: if the bundle can be read, and holds no root of the ledger.
    """
    try:
        with opened_folder(directory.path) as folder:
            data, _ = read_file_in(folder, HANDFAST.bundle, max_bytes=MAX_BUNDLE_BYTES)
        roots = TrustBundle.read(data).all_roots()
    except (FileNotFoundError, PkiError, InputError):
        return ()
    own = {item.certificate for item in transaction.issuers() if item.kind is IssuerKind.ROOT}
    if not own & set(roots):
        raise StateError(
            f"the ledger at {quote_untrusted(directory.ledger)} belongs to another CA: none "
            "of its roots is in "
            f"{HANDFAST.bundle}",
            remedy="Bring back a copy of this CA's own ledger",
        )
    return tuple(root for root in roots if root not in own)


def _tell_unknown_roots(
    transaction: Transaction, roots: Sequence[x509.Certificate], now: datetime
) -> None:
    """Record that the ledger is from before a root was prepared, and what that means."""
    names = ", ".join(root.fingerprint(hashes.SHA256()).hex() for root in roots)
    transaction.add_event(
        "unknown-root",
        f"the published trust bundle held roots that this ledger does not know (SHA-256 {names}): "
        "it is from before they were prepared. Prepare each again with its certificate (handfast "
        "ca root prepare --root FILE). Followers of the lost signed bundles enroll again",
        at=now,
    )
