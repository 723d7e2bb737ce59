"""Which of the CA's certificates is a root, and which issuing CA a root has signed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pki.authority.ledger.records import IssuerKind, IssuerRecord, IssuerStatus
from pki.errors import LedgerError, StateError

_NOT_SIGNING = frozenset({IssuerStatus.DISTRUSTED, IssuerStatus.WITHDRAWN})


def trusted_roots(issuers: Iterable[IssuerRecord]) -> tuple[IssuerRecord, ...]:
    """Return the roots that are in the trust bundle, oldest first.

    Raises:
        LedgerError: if there is none.
    """
    roots = tuple(
        item
        for item in issuers
        if item.kind is IssuerKind.ROOT and item.status is not IssuerStatus.WITHDRAWN
    )
    if not roots:
        raise LedgerError("the ledger holds no root: the CA's set-up was interrupted")
    return roots


def active_root(issuers: Iterable[IssuerRecord]) -> IssuerRecord:
    """Return the root under which leaves are issued.

    Raises:
        LedgerError: if there is none.
    """
    for item in trusted_roots(issuers):
        if item.status is IssuerStatus.ACTIVE:
            return item
    raise LedgerError("the ledger holds no active root")


def root_with_status(issuers: Iterable[IssuerRecord], status: IssuerStatus) -> IssuerRecord | None:
    """Return the newest root with a status; None if there is none."""
    found = [item for item in issuers if item.kind is IssuerKind.ROOT and item.status is status]
    return found[-1] if found else None


def root_of(issuer: IssuerRecord, issuers: Iterable[IssuerRecord]) -> IssuerRecord:
    """Return the root that signed an issuing CA; a root itself is its own.

    A root's name holds its key id, so no two roots have the same name.

    Raises:
        LedgerError: if the ledger does not hold that root.
    """
    if issuer.kind is IssuerKind.ROOT:
        return issuer
    for item in issuers:
        if item.kind is IssuerKind.ROOT and item.certificate.subject == issuer.certificate.issuer:
            return item
    raise LedgerError(f"the ledger does not hold the root of issuing CA {issuer.key_id}")


def issued_by(root: IssuerRecord, issuers: Sequence[IssuerRecord]) -> tuple[IssuerRecord, ...]:
    """Return the issuing CAs that a root has signed, oldest first."""
    return tuple(
        item
        for item in issuers
        if item.kind is IssuerKind.ISSUING and item.certificate.issuer == root.certificate.subject
    )


def is_usable(issuer: IssuerRecord) -> bool:
    """Return whether receivers may still accept what an issuer has signed."""
    return issuer.status not in _NOT_SIGNING


def no_active_issuer_error(issuing: Sequence[IssuerRecord]) -> StateError:
    """Return why none of the issuing CAs is active, and what to do."""
    if not issuing:
        return StateError(
            "the CA has no issuing CA: its set-up was interrupted before one was made",
            remedy="Finish it, with the root's key in place: handfast ca rotate",
        )
    if any(item.status is IssuerStatus.PREPARED for item in issuing):
        return StateError(
            "no issuing CA is active, and one is prepared",
            remedy="Activate it: handfast ca rotate --activate",
        )
    return StateError(
        "no issuing CA is active: the last one was distrusted",
        remedy="Bring the root's key back, and then: handfast ca rotate",
    )
