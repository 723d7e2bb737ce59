"""Registrations: who may obtain which names, by which proof, and who decides on that."""

from pki.authority.registrations.caller import Caller
from pki.authority.registrations.registration import (
    OidcRule,
    Proof,
    RecoveryRule,
    Registration,
    Revision,
)

__all__ = [
    "Caller",
    "OidcRule",
    "Proof",
    "RecoveryRule",
    "Registration",
    "Revision",
]
