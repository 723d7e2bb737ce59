"""Registrations: who may obtain which names, by which proof, and who decides on that."""

from pki.authority.registrations.caller import Caller
from pki.authority.registrations.registration import (
    DEFAULT_PROOFS,
    OidcRule,
    Proof,
    RecoveryRule,
    Registration,
    Revision,
)

__all__ = [
    "DEFAULT_PROOFS",
    "Caller",
    "OidcRule",
    "Proof",
    "RecoveryRule",
    "Registration",
    "Revision",
]
