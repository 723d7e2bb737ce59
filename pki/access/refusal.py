"""Refusals: one cause each, with a status for the caller and nothing of the policy in it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.authz import Reason
from pki.x509 import Fault

DOMAIN = "handfast"
DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is refused.

    Args:
        reason: one value of ``handfast.v1.ErrorReason``.
        message: words for the caller.
        metadata: the variables of the message, by name.
    """

    reason: ErrorReason.ValueType
    message: str
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def code(self) -> grpc.StatusCode:
        """The status code that goes with the reason."""
        return _CODES.get(self.reason, grpc.StatusCode.UNAUTHENTICATED)

    @property
    def name(self) -> str:
        """The reason's name, as in ``google.rpc.ErrorInfo``."""
        return ErrorReason.Name(self.reason)

    def because(self, words: str) -> Refusal:
        """Return the same refusal with a cause that was found out; itself where there is none."""
        if not words:
            return self
        return Refusal(self.reason, f"{self.message}; {words}", (*self.metadata, ("cause", words)))

    def of_several(self, number: int) -> Refusal:
        """Return the same refusal, as one of so many addresses of which none is accepted."""
        words = f"{self.message}; none of the server's {number} addresses is accepted"
        return Refusal(self.reason, words, (*self.metadata, ("addresses", str(number))))

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Return the structured detail: one ``google.rpc.ErrorInfo`` (AIP-193)."""
        info = error_details_pb2.ErrorInfo(
            reason=self.name, domain=DOMAIN, metadata=dict(self.metadata)
        )
        detail = any_pb2.Any()
        detail.Pack(info)
        number: int = self.code.value[0]
        status = status_pb2.Status(code=number, message=self.message, details=[detail])
        return ((DETAILS_KEY, status.SerializeToString()),)


_CODES = MappingProxyType(
    {
        ErrorReason.NO_ROLE: grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.METHOD_NOT_GRANTED: grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.SERVER_ROLE_MISSING: grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.REVOCATION_STALE: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.POLICY_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.AUTHORIZATION_ERROR: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.CREDENTIAL_ENDED: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.SERVER_CERTIFICATE_REJECTED: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.SERVER_UNVERIFIED: grpc.StatusCode.UNAVAILABLE,
    }
)
_OF_FAULT = MappingProxyType(
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
# What the caller reads: what is wrong with its own certificate, never what this server believes.
_WORDS = MappingProxyType(
    {
        ErrorReason.CERTIFICATE_EXPIRED: "your certificate has expired",
        ErrorReason.CERTIFICATE_NOT_YET_VALID: "your certificate is not valid yet",
        ErrorReason.CERTIFICATE_REVOKED: "your certificate was revoked",
        ErrorReason.ISSUER_DISTRUSTED: "the issuer of your certificate is not trusted",
        ErrorReason.REVOCATION_STALE: "this server can't tell whether your certificate is revoked",
        ErrorReason.CERTIFICATE_INVALID: "your certificate breaks a rule for workload certificates",
    }
)
_SERVER_WORDS = MappingProxyType(
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
    """Turn the fault of a chain into a refusal."""
    reason = _OF_FAULT[fault]
    metadata = (("serial", f"{serial:x}"),) if serial is not None else ()
    return Refusal(reason, _WORDS[reason], metadata)


def server_refusal(server: str, fault: Fault, serial: int | None = None) -> Refusal:
    """Turn the fault of a server's chain into the refusal that its caller reads."""
    number = (("serial", f"{serial:x}"),) if serial is not None else ()
    return Refusal(
        ErrorReason.SERVER_CERTIFICATE_REJECTED,
        f"the certificate at the address of {server} {_SERVER_WORDS[fault]}",
        (("peer", server), ("verdict", fault.verdict), *number),
    )


def server_unverified(server: str, verdict: str, words: str) -> Refusal:
    """Tell a caller that its server could not be looked at."""
    return Refusal(
        ErrorReason.SERVER_UNVERIFIED,
        f"could not verify the certificate of {server}: {words}",
        (("peer", server), ("verdict", verdict)),
    )


def decision_refusal(reason: Reason, *, who: str, what: str) -> Refusal:
    """Turn a policy's answer into a refusal: it names the caller and the call, and no rule."""
    mapped = {
        Reason.NO_ROLE: (ErrorReason.NO_ROLE, f"{who} has no role here"),
        Reason.METHOD_NOT_GRANTED: (
            ErrorReason.METHOD_NOT_GRANTED,
            f"{who} may not call {what}",
        ),
        Reason.SERVICE_NOT_LISTED: (
            ErrorReason.SERVER_ROLE_MISSING,
            f"the policy names no role that may answer {what}",
        ),
        Reason.SERVER_ROLE_MISSING: (
            ErrorReason.SERVER_ROLE_MISSING,
            f"{who} may not answer {what}",
        ),
    }
    kind, words = mapped[reason]
    return Refusal(kind, words, (("peer", who), ("method", what)))


POLICY_UNAVAILABLE = Refusal(
    ErrorReason.POLICY_UNAVAILABLE, "this server has no policy to decide by"
)
AUTHORIZATION_ERROR = Refusal(ErrorReason.AUTHORIZATION_ERROR, "this call could not be judged")
NO_CERTIFICATE = Refusal(ErrorReason.CERTIFICATE_INVALID, "no client certificate was presented")
CREDENTIAL_ENDED = Refusal(
    ErrorReason.CREDENTIAL_ENDED,
    "the certificate that this call's connection began with has ended; call again",
)
OWN_CREDENTIAL_ENDED = Refusal(
    ErrorReason.CREDENTIAL_ENDED,
    "our own certificate has ended and no other has come: renew it",
)
