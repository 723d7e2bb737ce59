"""Why a follower does not accept a signed trust bundle."""

from __future__ import annotations

from enum import StrEnum

from pki.errors import InputError


class BundleFault(StrEnum):
    """The kind of fault; its value is stable."""

    MALFORMED = "malformed"
    """It is not in the one form that is allowed."""
    WRONG_DOMAIN = "wrong-domain"
    """It is of another trust domain."""
    GAP = "gap"
    """A number between the trusted bundle and this one is missing."""
    LOWER_NUMBER = "lower-number"
    """Its number is lower than that of the trusted bundle."""
    FORK = "fork"
    """There is another bundle with the same number, or it was made after another bundle."""
    MISSING_SIGNATURE = "missing-signature"
    """A root that must sign it did not."""
    BAD_SIGNATURE = "bad-signature"
    """A signature is not of the key that it names."""
    EXPIRED_SIGNER = "expired-signer"
    """Each root that vouches for it is outside its validity."""
    WRONG_ANCHOR = "wrong-anchor"
    """It does not hold the root whose fingerprint the follower knows."""


class BundleRefusedError(InputError):
    """A signed trust bundle was not accepted; the one that was trusted before stays in force.

    Args:
        message: what is wrong.
        fault: the kind of fault.
        remedy: what to do next.
    """

    def __init__(self, message: str, *, fault: BundleFault, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.fault = fault
