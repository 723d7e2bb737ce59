"""The peer of a call, as a handler sees it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from pki.errors import StateError
from pki.identity import DnsName, SpiffeId, Subject
from pki.x509 import CertificateNames


@dataclass(frozen=True, slots=True)
class Peer:
    """The caller: proved by its certificate, authorized by the policy for this call.

    Args:
        spiffe_id: the workload's name.
        names: every name in its certificate, by type.
        roles: the roles that its names map to, sorted.
        scopes: the scopes of the grants that allow this call.
        serial: its certificate's serial number.
        issuer: the distinguished name of the CA that issued it (RFC 4514 text).
        not_after: the end of its certificate, UTC.
    """

    spiffe_id: SpiffeId
    names: CertificateNames
    roles: tuple[str, ...]
    scopes: frozenset[str]
    serial: int
    issuer: str
    not_after: datetime

    @property
    def subject(self) -> Subject:
        """The distinguished name in its certificate."""
        return self.names.subject

    @property
    def dns_names(self) -> tuple[DnsName, ...]:
        """The DNS names in its certificate."""
        return self.names.dns_names


CURRENT_PEER: ContextVar[Peer] = ContextVar("handfast_peer")


def peer() -> Peer:
    """Return the peer of the call that is being handled.

    Raises:
        StateError: outside a handler behind the access control of a ``Workload``.
    """
    try:
        return CURRENT_PEER.get()
    except LookupError:
        raise StateError(
            "peer() was called outside a call's handler",
            remedy="Call it in a handler of a server made by Workload.server; a thread of your own "
            "needs contextvars.copy_context()",
        ) from None
