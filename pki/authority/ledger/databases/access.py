"""How a ledger is opened, and how a transaction says what it needs."""

from __future__ import annotations

from dataclasses import dataclass

BUSY_SECONDS = 30.0
READING, BUSY, NO_TURN = "handfast_reading", "handfast_busy", "handfast_no_turn"
"""The execution options of a connection: whether it changes nothing, how long it waits, and whether
it waits for no turn to write."""


@dataclass(frozen=True, slots=True)
class LedgerAccess:
    """How to open a ledger.

    Args:
        for_reading: take no lock and change nothing: for a ledger that can't be written now.
        wait_seconds: how long each transaction waits for another process that writes.
    """

    for_reading: bool = False
    wait_seconds: float = BUSY_SECONDS


WRITING = LedgerAccess()
