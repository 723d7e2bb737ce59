"""Steps that share a transaction: reads are made ahead, and one that raises is undone alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from pki.authority.ledger.batching.names import ConflictError
from pki.authority.ledger.batching.needs import Needs
from pki.authority.ledger.commits.turns import Outcome, Shared
from pki.authority.ledger.databases.place import LedgerPlace, cause_of
from pki.authority.ledger.transaction import Transaction
from pki.errors import LedgerError, LedgerHeldError, LedgerMovedError

_SHARED_SECONDS = 0.1
"""How long a shared commit takes up steps: who is urgent waits for it."""
_READ_AHEAD = 64
"""For about so many certificates at once: what is read for a step that has to wait is in vain."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is done in a transaction that may be shared.

    Args:
        work: does it.
        needs: what it will read, as far as that is known.
    """

    work: Callable[[Transaction], object]
    needs: Needs


def take_steps(
    transaction: Transaction, shared: Shared[Step], *, is_each_written: bool
) -> list[Outcome]:
    """Take steps one after the other while there is time: the first at least.

    Args:
        transaction: of all of them.
        shared: the steps; those that come meanwhile are taken along.
        is_each_written: write what each has added at its own end.

    Returns:
        How those have ended that were taken.
    """
    outcomes: list[Outcome] = []
    end, ahead = time.monotonic() + _SHARED_SECONDS, 0
    while len(outcomes) < len(shared.steps) or shared.take_more():
        place = len(outcomes)
        if place == ahead:
            needs, ahead = _needs_from(shared.steps, place)
            transaction.read_ahead(needs)
        outcomes.append(_try(transaction, shared.steps[place], is_written=is_each_written))
        if time.monotonic() > end:
            break
    return outcomes


def is_conflict(error: LedgerError) -> bool:
    """Return whether a commit has failed because a row of one of its steps did not fit."""
    return isinstance(error, ConflictError) or isinstance(error.__cause__, IntegrityError)


def _needs_from(steps: Sequence[Step], begin: int) -> tuple[Needs, int]:
    """Return what the next steps will read, and how many of all steps those are up to."""
    needs: list[Needs] = []
    keys = 0
    for step in steps[begin:]:
        needs.append(step.needs)
        keys += len(step.needs.keys)
        if keys >= _READ_AHEAD:
            break
    return Needs.all_of(needs), begin + len(needs)


def _try(transaction: Transaction, step: Step, *, is_written: bool) -> Outcome:
    def take() -> object:
        result = step.work(transaction)
        if is_written:
            transaction.flush()
        return result

    try:
        return Outcome(transaction.alone(take))
    except IntegrityError as error:
        # It conflicts with what is recorded: that is its own affair, and not its neighbours'.
        refused = not_recorded(error)
        refused.__cause__ = error
        return Outcome(error=refused)
    except SQLAlchemyError:
        raise
    except Exception as error:
        return Outcome(error=error)


def failure_of(error: SQLAlchemyError, place: LedgerPlace, waited: float) -> LedgerError:
    """Return why a transaction failed, after which nothing was recorded.

    Args:
        error: the library's.
        place: where the ledger lies.
        waited: how many seconds the transaction waited at most for a lock.
    """
    if place.was_outrun(error):
        return LedgerMovedError()
    if place.is_held(error):
        return LedgerHeldError(waited)
    return not_recorded(error)


def not_recorded(error: SQLAlchemyError) -> LedgerError:
    """Return why nothing was recorded."""
    return LedgerError(
        f"ledger could not record: {cause_of(error)}",
        remedy="Nothing was handed out; check the disk or the database, and try again",
    )
