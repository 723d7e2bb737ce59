"""Let a restored CA sign again: it knows what was revoked meanwhile, or trusts nothing from before.

A backup knows nothing of what came after it. There are two ways to go on:

1. By the lists that receivers hold. Each issuer in use needs one from outside the backup, and none
   that is older than the backup's own. All that they revoke is recorded. This way ends where they
   show what the ledger can't know: a revoked certificate that it does not hold, or a list of an
   issuing CA that it does not hold. Others may have been issued then, for names that are not
   claimed here.
2. By retiring: all issuing CAs of the ledger are distrusted, on lists that their roots sign now. A
   new one takes their place. An issuing CA that the ledger does not hold is distrusted if its
   certificate is given.

What lists can't show is what was issued after the backup and not revoked. It can't be renewed, and
ends within a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from pki.authority.context import AuthorityContext
from pki.authority.crls import current_numbers, sign_root_crls
from pki.authority.ledger import IssuerRecord, IssuerStatus, Transaction
from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.authority.ledger.audit.entry import shorten_list
from pki.authority.ledger.hierarchy import is_usable, issued_by, trusted_roots
from pki.errors import InputError, WrongStepError
from pki.x509 import Crl, CrlSet
from pki.x509.decoding import UNREADABLE
from pki.x509.revocation import IssuerId, RevokedEntry


@dataclass(frozen=True, slots=True)
class Retirement:
    """The wish to distrust all issuing CAs from before a restore.

    Args:
        unknown_issuers: certificates of issuing CAs that were made after the backup.
    """

    unknown_issuers: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class Resumption:
    """Whether a restored CA signs again, and why not.

    Args:
        is_done: whether it does.
        missing: the key ids of the issuers without a list from outside.
        unknown_serials: revoked certificates that the ledger does not hold, in lower-case hex.
        unknown_issuers: the names of issuing CAs that the ledger does not hold.
        retired: the key ids of the issuing CAs that were distrusted.
    """

    is_done: bool
    missing: tuple[str, ...] = ()
    unknown_serials: tuple[str, ...] = ()
    unknown_issuers: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()


def missing_lists(
    transaction: Transaction, outside: Sequence[CrlSet], *, now: datetime
) -> tuple[str, ...]:
    """Return the key ids of the issuers in use without a list from outside; before the import.

    Args:
        transaction: of the restored ledger.
        outside: what receivers hold.
        now: the time.
    """
    numbers = current_numbers(transaction, now=now)
    missing = []
    for issuer in transaction.issuers():
        name = IssuerId.of_ca(issuer.certificate)
        if name not in numbers or not is_usable(issuer):
            continue
        lists = [crls.crls[name] for crls in outside if name in crls.crls]
        if not any(_is_newer(crl, issuer, numbers[name][1]) for crl in lists):
            missing.append(issuer.key_id)
    return tuple(missing)


def resume(
    context: AuthorityContext,
    transaction: Transaction,
    outside: Sequence[CrlSet],
    missing: tuple[str, ...],
    retirement: Retirement | None,
) -> Resumption:
    """Let a restored CA sign again if it may; after the import of the lists.

    Args:
        context: the CA.
        transaction: of its ledger.
        outside: what receivers hold, which was imported in this transaction.
        missing: what :func:`missing_lists` returned.
        retirement: set to distrust all issuing CAs from before.

    Raises:
        StateError: if a root's key is needed, and is not here; then nothing may be recorded.
        InputError: if a certificate that is given is not of an issuing CA under one of the roots.
    """
    unknown_serials = _unknown_serials(transaction)
    unknown_issuers = _unknown_issuers(context, transaction, outside)
    retired: tuple[str, ...] = ()
    if retirement is not None:
        unknown_issuers = _without(unknown_issuers, retirement)
    names = tuple(issuer.rfc4514_string() for issuer in unknown_issuers)
    is_done = not names and (retirement is not None or not (missing or unknown_serials))
    if not is_done:
        return Resumption(False, missing, unknown_serials, names)
    transaction.set_waiting(None)
    if retirement is not None:
        retired = _retire(context, transaction, retirement)
    transaction.audit.append(
        context.audit_entry(
            AuditAction.RESUME,
            reason="lists" if retirement is None else "retired",
            retired=shorten_list(retired),
        )
    )
    return Resumption(True, missing, unknown_serials, (), retired)


def _is_newer(crl: Crl, issuer: IssuerRecord, number: int) -> bool:
    return crl.number >= number and crl.is_signed_by(issuer.certificate)


def _unknown_serials(transaction: Transaction) -> tuple[str, ...]:
    """Return what was revoked since the restore, and issued by no entry of the restored log."""
    restored_at = transaction.recovery.restored_at()
    assert restored_at is not None  # it waits since then
    unknown = set()
    for issuer in transaction.issuers():
        for revoked in transaction.recovery.unrecorded_of(issuer.id):
            serial = f"{revoked.serial:x}"
            entries = [
                AuditEntry.parse(text) for _, text in transaction.audit.entries_about(serial)
            ]
            # What was unrecorded in the backup already may have been signed, and is revoked.
            is_new = any(
                item.action is AuditAction.REVOKE and item.at >= restored_at for item in entries
            )
            is_known = any(
                item.action in {AuditAction.ISSUE, AuditAction.RENEW} for item in entries
            )
            if is_new and not is_known and transaction.intents.of_serial(serial) is None:
                unknown.add(serial)
    return tuple(sorted(unknown))


def _unknown_issuers(
    context: AuthorityContext, transaction: Transaction, outside: Sequence[CrlSet]
) -> tuple[x509.Name, ...]:
    """Return the issuers of lists that have a name of this CA, and are not in the ledger."""
    known = {IssuerId.of_ca(item.certificate) for item in transaction.issuers()}
    domain = context.settings.limits.trust_domain.name
    unknown = {
        crl.crl.issuer
        for crls in outside
        for name, crl in crls.crls.items()
        if name not in known
        and any(
            item.value == domain
            for item in crl.crl.issuer.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
        )
    }
    return tuple(sorted(unknown, key=lambda name: name.rfc4514_string()))


def _without(names: tuple[x509.Name, ...], retirement: Retirement) -> tuple[x509.Name, ...]:
    given = {item.subject for item in retirement.unknown_issuers}
    return tuple(name for name in names if name not in given)


def _retire(
    context: AuthorityContext, transaction: Transaction, retirement: Retirement
) -> tuple[str, ...]:
    """Distrust every issuing CA that receivers may accept; return their key ids."""
    issuers, now = transaction.issuers(), context.now()
    roots = trusted_roots(issuers)
    for certificate in retirement.unknown_issuers:
        root = _root_of(certificate, roots)
        serial = certificate.serial_number
        transaction.recovery.add_unrecorded(
            root.id, [RevokedEntry(serial, now, x509.ReasonFlags.ca_compromise)]
        )
        transaction.audit.append(
            context.audit_entry(
                AuditAction.REVOKE,
                serial=f"{serial:x}",
                reason=x509.ReasonFlags.ca_compromise.value,
            )
        )
    retired = []
    for root in roots:
        for issuing in issued_by(root, issuers):
            if not is_usable(issuing):
                continue
            transaction.set_status(issuing.id, IssuerStatus.DISTRUSTED)
            transaction.audit.append(
                context.audit_entry(
                    AuditAction.DISTRUST,
                    certificate=issuing.certificate,
                    issuing_ca=issuing.key_id,
                )
            )
            retired.append(issuing.key_id)
        # A list that was signed ahead may have a lower number than one that is out.
        opened = context.root_ca(root, transaction)
        backdate = context.settings.backdate
        sign_root_crls(opened, transaction, now=now, backdate=backdate)
    return tuple(retired)


def _root_of(certificate: x509.Certificate, roots: Sequence[IssuerRecord]) -> IssuerRecord:
    for root in roots:
        try:
            certificate.verify_directly_issued_by(root.certificate)
        except (InvalidSignature, *UNREADABLE):
            continue
        return root
    raise InputError(
        "the certificate that is to be distrusted was signed by none of this CA's roots",
        remedy="Name the issuing CA's own certificate: the last one of a workload's chain.pem",
    )


def refuse_retirement() -> WrongStepError:
    """Return the error for a CA that was not restored, or signs again."""
    return WrongStepError(
        "the CA does not wait for lists: it was not restored from a backup, or signs again",
        remedy="To distrust one issuing CA: handfast ca rotate, then handfast ca distrust KEYID",
    )
