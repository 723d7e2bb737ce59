"""Where a rotation stands: its steps, who hinders the next one, and when each is due or free."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pki.authority.context import AuthorityContext
from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.ledger.hierarchy import issued_by, root_with_status, trusted_roots
from pki.authority.lifetimes import activate_due, prepare_due
from pki.authority.rotation.issuing import prepared_under
from pki.authority.rotation.pending import pending_request
from pki.authority.rotation.readiness import (
    Holder,
    find_holders,
    hanging_on,
    last_end,
    without_root,
)
from pki.authority.rotation.requests import RootRequest


class StepState(StrEnum):
    """Whether a step of a root's rotation can be taken."""

    DONE = "done"
    OPEN = "open"
    """It can be taken now."""
    WAITING = "waiting"
    """It would strand workloads, or another step comes first."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a root's rotation.

    Args:
        name: prepare, distribute, activate or withdraw.
        state: whether it can be taken.
        hindered_by: the holders that it would strand.
        free_at: when the last certificate of these ends; None if nobody hinders it.
    """

    name: str
    state: StepState
    hindered_by: tuple[Holder, ...] = ()

    @property
    def free_at(self) -> datetime | None:
        """When the last certificate of those that hinder it ends; None if nobody hinders it."""
        return last_end(self.hindered_by)


@dataclass(frozen=True, slots=True)
class Due:
    """When the successor of a root or an issuing CA is due.

    Args:
        issuer: the one whose life ends.
        prepare: at half of its life.
        activate: with a sixth of its life left.
        prepared: the successor that is prepared already, if there is one.
    """

    issuer: IssuerRecord
    prepare: datetime
    activate: datetime
    prepared: IssuerRecord | None

    def needed(self, now: datetime) -> str:
        """Return the step that is due now, ``prepare`` or ``activate``; empty if none is."""
        if self.prepared is None:
            return "prepare" if now >= self.prepare else ""
        return "activate" if now >= self.activate else ""


@dataclass(frozen=True, slots=True)
class RotationStatus:
    """Where the rotations of a CA stand.

    Args:
        bundle_number: of the newest trust bundle; 0 before the first.
        bundle_roots: how many roots it holds.
        pending: the request that waits to be signed where the roots are.
        steps: of the root's rotation that is under way, or of the next one.
        holders: everybody who holds an unexpired certificate.
        dues: when successors of the active root and of the active issuing CA are due.
    """

    bundle_number: int
    bundle_roots: int
    pending: RootRequest | None
    steps: tuple[Step, ...]
    holders: tuple[Holder, ...]
    dues: tuple[Due, ...]


def rotation_status(context: AuthorityContext) -> RotationStatus:
    """Return where the rotations stand."""
    with context.ledger.transaction() as transaction:
        holders = find_holders(transaction, now=context.now())
        newest = transaction.rotation.newest_bundle()
        return RotationStatus(
            newest.bundle.number if newest is not None else 0,
            len(trusted_roots(transaction.issuers())),
            pending_request(context, transaction),
            _steps(transaction, holders),
            holders,
            _dues(transaction),
        )


def _steps(transaction: Transaction, holders: tuple[Holder, ...]) -> tuple[Step, ...]:
    issuers = transaction.issuers()
    prepared = root_with_status(issuers, IssuerStatus.PREPARED)
    superseded = root_with_status(issuers, IssuerStatus.SUPERSEDED)
    done, first = StepState.DONE, StepState.WAITING
    if prepared is not None:
        silent = without_root(holders, prepared, transaction)
        state = StepState.WAITING if silent else StepState.OPEN
        return (
            Step("prepare", done),
            Step("distribute", StepState.OPEN if silent else done, silent),
            Step("activate", state, silent),
            Step("withdraw", first),
        )
    if superseded is not None:
        hanging = hanging_on(holders, superseded)
        return (
            Step("prepare", done),
            Step("distribute", done),
            Step("activate", done),
            Step("withdraw", first if hanging else StepState.OPEN, hanging),
        )
    return (
        Step("prepare", StepState.OPEN),
        Step("distribute", first),
        Step("activate", first),
        Step("withdraw", first),
    )


def _dues(transaction: Transaction) -> tuple[Due, ...]:
    issuers = transaction.issuers()
    dues = []
    for item in issuers:
        if item.status is not IssuerStatus.ACTIVE:
            continue
        if item.kind is IssuerKind.ROOT:
            successor = root_with_status(issuers, IssuerStatus.PREPARED)
        else:
            root = next(root for root in trusted_roots(issuers) if item in issued_by(root, issuers))
            successor = prepared_under(root, issuers)
        life = item.certificate.not_valid_before_utc, item.certificate.not_valid_after_utc
        dues.append(Due(item, prepare_due(*life), activate_due(*life), successor))
    return tuple(dues)
