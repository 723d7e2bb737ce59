"""The kinds of fault that a certificate chain can have, and their result names of gRFC A118."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class Fault(StrEnum):
    """The fault for which a certificate chain was refused: one cause each."""

    EXPIRED = "EXPIRED"
    NOT_YET_VALID = "NOT_YET_VALID"
    REVOKED = "REVOKED"
    ISSUER_REVOKED = "ISSUER_REVOKED"
    REVOCATION_UNKNOWN = "REVOCATION_UNKNOWN"
    UNTRUSTED = "UNTRUSTED"
    NAME_MISMATCH = "NAME_MISMATCH"
    PROFILE = "PROFILE"
    INVALID = "INVALID"

    @property
    def handshake_result(self) -> str:
        """The handshake result name of gRFC A118 for this fault."""
        return _HANDSHAKE_RESULTS[self]


_HANDSHAKE_RESULTS = MappingProxyType(
    {
        Fault.EXPIRED: "CERTIFICATE_EXPIRED",
        Fault.NOT_YET_VALID: "CERTIFICATE_NOT_YET_VALID",
        Fault.REVOKED: "CERTIFICATE_REVOKED",
        Fault.ISSUER_REVOKED: "CERTIFICATE_REVOKED",
        Fault.REVOCATION_UNKNOWN: "CERTIFICATE_VERIFICATION_FAILED",
        Fault.UNTRUSTED: "CERTIFICATE_AUTHORITY_INVALID",
        Fault.NAME_MISMATCH: "CERTIFICATE_HOSTNAME_MISMATCH",
        Fault.PROFILE: "CERTIFICATE_MALFORMED",
        Fault.INVALID: "CERTIFICATE_VERIFICATION_FAILED",
    }
)
