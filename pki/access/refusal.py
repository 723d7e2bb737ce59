"""Refusals: one cause each, with a message for the caller that tells nothing of the policy.

:mod:`pki.rpc.status` turns a refusal into a gRPC status.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.authz import Reason
from pki.x509 import Fault


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is refused.

    Args:
        reason: one value of ``handfast.v1.ErrorReason``.
        message: what the caller reads.
        metadata: the values in the message, by name.
    """

    reason: ErrorReason.ValueType
    message: str
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The name of the reason, as in ``google.rpc.ErrorInfo``."""
        return ErrorReason.Name(self.reason)

    def with_cause(self, cause: str) -> Refusal:
        """Return the same refusal with its cause added; this one if the cause is empty."""
        if not cause:
            return self
        return Refusal(self.reason, f"{self.message}; {cause}", (*self.metadata, ("cause", cause)))

    def for_addresses(self, number: int) -> Refusal:
        """Return the same refusal with the number of the server's addresses; all are refused."""
        message = f"{self.message}; none of the server's {number} addresses is accepted"
        return Refusal(self.reason, message, (*self.metadata, ("addresses", str(number))))


_REASONS = MappingProxyType(
    {
        Fault.EXPIRED: ErrorReason.CERTIFICATE_EXPIRED,
        Fault.NOT_YET_VALID: ErrorReason.CERTIFICATE_NOT_YET_VALID,
        Fault.REVOKED: ErrorReason.CERTIFICATE_REVOKED,
        Fault.ISSUER_REVOKED: ErrorReason.ISSUER_DISTRUSTED,
        Fault.UNTRUSTED: ErrorReason.ISSUER_DISTRUSTED,
        Fault.REVOCATION_UNKNOWN: ErrorReason.REVOCATION_STALE,
        Fault.NAME_MISMATCH: ErrorReason.CERTIFICATE_INVALID,
        Fault.PROFILE: ErrorReason.CERTIFICATE_INVALID,
        Fault.INVALID: ErrorReason.CERTIFICATE_INVALID,
    }
)
# The caller reads what is wrong with its own certificate, never what this server trusts.
_MESSAGES = MappingProxyType(
    {
        ErrorReason.CERTIFICATE_EXPIRED: "your certificate has expired",
        ErrorReason.CERTIFICATE_NOT_YET_VALID: "your certificate is not valid yet",
        ErrorReason.CERTIFICATE_REVOKED: "your certificate was revoked",
        ErrorReason.ISSUER_DISTRUSTED: "the issuer of your certificate is not trusted",
        ErrorReason.REVOCATION_STALE: "this server can't tell whether your certificate is revoked",
        ErrorReason.CERTIFICATE_INVALID: "your certificate breaks a rule for workload certificates",
    }
)
_SERVER_FAULTS = MappingProxyType(
    {
        Fault.EXPIRED: "has expired",
        Fault.NOT_YET_VALID: "is not valid yet",
        Fault.REVOKED: "was revoked",
        Fault.ISSUER_REVOKED: "comes from a CA that was revoked",
        Fault.UNTRUSTED: "comes from a CA that is not in our trust bundle",
        Fault.REVOCATION_UNKNOWN: "may have been revoked: our revocation lists are missing or old, "
        "or begin later than our clock says",
        Fault.NAME_MISMATCH: "names another workload",
        Fault.PROFILE: "breaks a rule for workload certificates",
        Fault.INVALID: "is not valid",
    }
)


def client_refusal(fault: Fault, serial: int | None = None) -> Refusal:
    """Return the refusal for a fault in the caller's chain."""
    reason = _REASONS[fault]
    metadata = (("serial", f"{serial:x}"),) if serial is not None else ()
    return Refusal(reason, _MESSAGES[reason], metadata)


def server_refusal(server: str, fault: Fault, serial: int | None = None) -> Refusal:
    """Return the refusal for a fault in a server's chain: its client reads it."""
    number = (("serial", f"{serial:x}"),) if serial is not None else ()
    return Refusal(
        ErrorReason.SERVER_CERTIFICATE_REJECTED,
        f"the certificate at the address of {server} {_SERVER_FAULTS[fault]}",
        (("peer", server), ("result", fault.handshake_result), *number),
    )


def server_unverified(server: str, result: str, message: str) -> Refusal:
    """Return the refusal for a server whose certificate could not be verified.

    Args:
        server: the SPIFFE ID that the server must have.
        result: the result name of gRFC A118.
        message: what prevented the verification.
    """
    return Refusal(
        ErrorReason.SERVER_UNVERIFIED,
        f"could not verify the certificate of {server}: {message}",
        (("peer", server), ("result", result)),
    )


def decision_refusal(reason: Reason, *, who: str, what: str) -> Refusal:
    """Return the refusal for a policy's decision: it names the caller and the call, and no rule."""
    refusals = {
        Reason.NO_ROLE: (ErrorReason.NO_ROLE, f"{who} has no role here"),
        Reason.METHOD_NOT_GRANTED: (
            ErrorReason.METHOD_NOT_GRANTED,
            f"{who} may not call {what}",
        ),
        Reason.SERVICE_NOT_LISTED: (
            ErrorReason.SERVER_ROLE_MISSING,
            f"the policy of this caller has no [[served_by]] for {what}: add one, with a role that "
            f"{who} has, as for every service that a channel calls, health checks included",
        ),
        Reason.SERVER_ROLE_MISSING: (
            ErrorReason.SERVER_ROLE_MISSING,
            f"{who} may not answer {what}: by [[served_by]] in the policy of this caller, its "
            "servers have another role",
        ),
    }
    kind, message = refusals[reason]
    return Refusal(kind, message, (("peer", who), ("method", what)))


POLICY_UNAVAILABLE = Refusal(
    ErrorReason.POLICY_UNAVAILABLE,
    "this server has no policy in force: its file was removed or can't be read, or its workload is "
    "closed",
)
OWN_POLICY_UNAVAILABLE = Refusal(
    ErrorReason.POLICY_UNAVAILABLE,
    "our own policy is not in force: its file was removed or can't be read, or our workload is "
    "closed",
)
AUTHORIZATION_ERROR = Refusal(
    ErrorReason.AUTHORIZATION_ERROR, "the server failed to authorize this call"
)
NO_CERTIFICATE = Refusal(ErrorReason.CERTIFICATE_INVALID, "no client certificate was presented")
CREDENTIAL_ENDED = Refusal(
    ErrorReason.CREDENTIAL_ENDED,
    "a certificate that this call's connection began with expired, or the drain time after a "
    "rotation was over; call again",
)
OWN_CREDENTIAL_ENDED = Refusal(
    ErrorReason.CREDENTIAL_ENDED,
    "our own certificate has expired and was not renewed: run handfast renew DIR, or handfast "
    "agent DIR where it was enrolled",
)
