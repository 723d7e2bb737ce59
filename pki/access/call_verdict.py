"""What a judge says of one call."""

from __future__ import annotations

from dataclasses import dataclass

from pki.access.peer import Peer
from pki.access.refusal import Refusal
from pki.authz import Decision


@dataclass(frozen=True, slots=True)
class CallVerdict:
    """One answer: the peer if it may call, the refusal if not, and the facts for the log.

    ``audited`` is what would have refused a call that goes through because its policy is not
    enforced.
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
