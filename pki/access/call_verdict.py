"""The verdict on one call."""

from __future__ import annotations

from dataclasses import dataclass

from pki.access.peer import Peer
from pki.access.refusal import Refusal
from pki.authz import Decision


@dataclass(frozen=True, slots=True)
class CallVerdict:
    """The peer if it may call, the refusal if it may not, and the facts for the log.

    Args:
        method: the path of the method, as it came.
        peer: the caller; None if the call is refused.
        refusal: why the call is refused; None if it is allowed.
        decision: what the policy decided; None if it was not asked.
        spiffe_id: the SPIFFE ID that the caller's certificate holds, verified or not.
        serial: the serial number of the certificate, in hex.
        issuer: the distinguished name of its issuer (RFC 4514 text).
        detail: what was wrong, for the log alone.
        audited: the refusal that was not enforced, because the policy says ``audit``.
    """

    method: str
    peer: Peer | None
    refusal: Refusal | None
    decision: Decision | None
    spiffe_id: str
    serial: str
    issuer: str
    detail: str = ""
    audited: Refusal | None = None
