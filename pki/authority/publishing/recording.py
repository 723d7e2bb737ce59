"""Record in the ledger what is pending, in one commit, with all that a revocation does there."""

from __future__ import annotations

from dataclasses import replace

from cryptography import x509

from pki.authority.context import AuthorityContext
from pki.authority.ledger import CertificateRecord, IssuerKind, IssuerRecord, Transaction
from pki.authority.ledger.audit import Actor, AuditAction
from pki.authority.ledger.hierarchy import is_usable
from pki.authority.ledger.renewals import with_renewals
from pki.authority.pending.file import KEPT
from pki.authority.pending.record import PendingRevocation
from pki.authority.publishing.pending_lists import SKIPPED_NUMBERS
from pki.authority.revocation import decided_then, revoke_intents, revoke_records, sign_lists
from pki.authority.unrecorded.requested import revoke_requested
from pki.errors import InputError, join_first
from pki.x509 import CrlSet
from pki.x509.revocation import IssuerId


def record_first(context: AuthorityContext) -> AuthorityContext:
    """Let everything that signs or publishes record what is pending first; return the CA."""
    if not context.ledger.is_for_reading:
        context.ledger.recorder = lambda ledger: record_pending(replace(context, ledger=ledger))
    return context


def record_pending(context: AuthorityContext) -> int:
    """Record what is pending, sign its lists, and forget it; return how many there were.

    What is recorded already, because a crash came before it was forgotten, is left as it is.

    Raises:
        LedgerError: if the ledger still can't record; then all of it stays pending.
        PkiError: if not all of it can be read; what is known is recorded first.
    """
    known = context.pending.known()
    records = known.records
    if not records:
        known.whole()
        return 0
    published = context.directory.read_published(unless=CrlSet.none())
    with context.ledger.transaction() as transaction:
        for issuer in transaction.issuers():
            _raise_floor(context, transaction, issuer, records, published)
        for record in records:
            _record(replace(context, actor=Actor(record.actor)), transaction, record)
            _keep_unknown(context, transaction, record)
        # One that can't be signed leaves its own list behind, and nothing unrecorded.
        sign_lists(
            context,
            transaction,
            [
                item.id
                for item in transaction.issuers()
                if _needs_list(context, transaction, item, records)
            ],
        )
    context.pending.forget({item.id for item in records})
    known.whole()
    return len(records)


def _raise_floor(
    context: AuthorityContext,
    transaction: Transaction,
    issuer: IssuerRecord,
    records: tuple[PendingRevocation, ...],
    published: CrlSet | None,
) -> None:
    """Let the next list have a number above all that may be out: those of another process too."""
    if not _needs_list(context, transaction, issuer, records):
        return
    name = IssuerId.of_ca(issuer.certificate)
    current = transaction.crls.current_number(issuer.id) or 0
    floor = max(current, transaction.recovery.crl_floor(issuer.id))
    seen = [
        context.pending.lists().get(name),
        None if published is None else published.crls.get(name),
    ]
    signed = [item.number for item in seen if item and item.is_signed_by(issuer.certificate)]
    transaction.recovery.raise_crl_floor(issuer.id, max(floor + 2 * SKIPPED_NUMBERS, *signed, 0))


def _needs_list(
    context: AuthorityContext,
    transaction: Transaction,
    issuer: IssuerRecord,
    records: tuple[PendingRevocation, ...],
) -> bool:
    """Return whether the ledger's list lacks what is pending, or is behind one that is out."""
    if issuer.kind is not IssuerKind.ISSUING or not is_usable(issuer):
        return False
    name = IssuerId.of_ca(issuer.certificate)
    serials = {entry.serial for record in records for entry in record.entries_of(name.key_id)}
    if not serials:
        return False
    current = transaction.crls.current_list(issuer.id)
    if current is None:
        return True
    own = context.pending.lists().get(name)
    is_behind = own is not None and own.number > current.number
    return is_behind or not serials <= current.revoked


def _record(context: AuthorityContext, transaction: Transaction, record: PendingRevocation) -> None:
    """Record one revocation: that of today may include what was renewed meanwhile."""
    # All lists are signed once, at the end.
    context = replace(context, signs_lists_later=True)
    reason = x509.ReasonFlags(record.reason)
    known, unknown = [], []
    for serial in dict.fromkeys((*record.serials, *(item.serial for item in record.entries))):
        certificate = transaction.certificate_by_serial(serial)
        if certificate is not None:
            known.append(certificate)
        elif (intent := transaction.intents.of_serial(serial)) is not None:
            revoke_intents(context, transaction, [intent], reason, decided_at=record.at)
        elif not _record_requested(context, transaction, record, serial):
            unknown.append(serial)
    if known and not _is_recorded(transaction, known, record):
        revoke_records(
            context,
            transaction,
            known,
            reason,
            whole_line=record.whole_line,
            decided_at=record.at,
        )
    for serial in unknown:
        _record_unknown(context, transaction, record, serial)


def _is_recorded(
    transaction: Transaction, known: list[CertificateRecord], record: PendingRevocation
) -> bool:
    """Return whether the ledger holds it, because a crash came before it was forgotten."""
    is_compromise = record.reason == x509.ReasonFlags.key_compromise.value
    revoked = with_renewals(
        known, transaction, same_keys=is_compromise, whole_line=record.whole_line
    )
    lines = [transaction.lines.get(item) for item in {item.line_id for item in revoked}]
    are_blocked = all(item is not None and item.blocked_at is not None for item in lines)
    return all(item.revoked_at is not None for item in revoked) and (
        are_blocked or not is_compromise
    )


def _record_requested(
    context: AuthorityContext, transaction: Transaction, record: PendingRevocation, serial: str
) -> bool:
    """Record the revocation of an issuing CA that was only requested; return whether it was one."""
    reason = x509.ReasonFlags(record.reason)
    try:
        return revoke_requested(context, transaction, serial, reason, decided_at=record.at)
    except InputError as error:
        # Somebody who held the ledger recorded that issuing CA, or withdrew its root.
        detail = f"a pending revocation is not recorded as such: {error}"
        if detail not in {text for _, _, text in transaction.events()}:
            transaction.add_event("not-recorded", detail, at=context.now())
        return False


def _keep_unknown(
    context: AuthorityContext, transaction: Transaction, record: PendingRevocation
) -> None:
    """Keep what an older ledger can't record: it does not know the issuing CA, others accept it."""
    known = {IssuerId.of_ca(item.certificate).key_id.hex() for item in transaction.issuers()}
    unknown = tuple(item for item in record.entries if item.issuer not in known)
    if not unknown:
        return
    # Before the commit, after which it is forgotten as a pending one.
    serials = tuple(item.serial for item in unknown)
    context.pending.keep(replace(record, serials=serials, entries=unknown))
    named = join_first([f"{item.serial} of issuing CA {item.issuer}" for item in unknown], 3)
    detail = (
        f"the revocation of {named} can't be recorded: this ledger is from before that issuing CA "
        f"was made. {KEPT} keeps it, it is announced, and its list stays published as long as its "
        "certificates last. Issue new certificates for all that the issuing CA has signed"
    )
    if detail not in {text for _, _, text in transaction.events()}:
        transaction.add_event("unknown-issuer", detail, at=context.now())


def _record_unknown(
    context: AuthorityContext, transaction: Transaction, record: PendingRevocation, serial: str
) -> None:
    """Keep a serial number of a certificate that the ledger lacks on all later lists."""
    is_new = False
    for issuer in transaction.issuers():
        name = IssuerId.of_ca(issuer.certificate)
        listed = {item.serial for item in transaction.recovery.unrecorded_of(issuer.id)}
        entries = [
            entry
            for entry in record.entries_of(name.key_id)
            if entry.serial == int(serial, 16) and entry.serial not in listed
        ]
        transaction.recovery.add_unrecorded(issuer.id, entries)
        is_new = is_new or bool(entries)
    if is_new:
        transaction.audit.append(
            decided_then(
                context.audit_entry(AuditAction.REVOKE, serial=serial, reason=record.reason),
                record.at,
            )
        )
