"""Whose work goes first when several wait for the ledger."""

from __future__ import annotations

from enum import IntEnum


class Urgency(IntEnum):
    """How urgent a transaction is, the most urgent first."""

    REVOCATION = 0
    """Revocations, and the CA's own upkeep: lists, and what is recorded of it."""
    RENEWAL = 1
    """Renewals and recoveries: whoever waits had a certificate, and may be without one soon."""
    REGISTRAR = 2
    """What registrars and admins ask for."""
    STRANGER = 3
    """Enrollments: whoever waits has shown a token or a JWT, and nothing else."""
