"""What must not fail for another's sake: a full disk, or a replica that was faster.

On a full disk, it is tried again in the space that is kept in reserve.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from pki.authority.context import AuthorityContext
from pki.authority.ledger.beside.reserve import is_for_lack_of_room
from pki.background import defer
from pki.errors import LedgerError, LedgerMovedError, OlderLedgerError

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def with_room(context: AuthorityContext, work: Callable[[], _Result]) -> _Result:
    """Do what revokes something; if the disk is full, once more in the space in reserve.

    It is done anew, once, if another replica was faster.

    Args:
        context: the CA.
        work: records it, as a whole or not at all.

    Raises:
        OlderLedgerError: if the ledger is an older copy.
        LedgerError: if it could not be recorded, with the reserve either.
    """
    try:
        return _retried(work)
    except OlderLedgerError:
        raise
    except LedgerError as error:
        held = context.reserve.held()
        is_full = is_for_lack_of_room(error, context.disk)
        if not is_full or not context.reserve.release():
            raise
    result = _retried(work)
    # Said afterwards: a log that lies on the full disk must not stop it.
    defer(_log.error, "the disk is full: a revocation took the %d bytes in reserve", held)
    return result


def _retried(work: Callable[[], _Result]) -> _Result:
    with suppress(LedgerMovedError):
        return work()
    # Once alone: a revocation that can't be recorded soon is published first.
    return work()
