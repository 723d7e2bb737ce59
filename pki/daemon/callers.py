"""Who calls the CA, by the certificate of the connection and the roles of the CA's policy.

A registrar's prefixes are scopes of the grants that its role has: ``register:/prod`` stands for
``/prod`` and all below it, ``register:/`` for the whole trust domain.
"""

from __future__ import annotations

from pki.access.peer import Peer
from pki.authority.registrations import Caller

ADMIN_ROLE = "ca-admin"
REGISTRAR_ROLE = "registrar"
_SCOPE = "register:/"


def caller_of(peer: Peer) -> Caller:
    """Return a peer as a caller of the CA's operations."""
    prefixes = frozenset(_segments(scope) for scope in peer.scopes if scope.startswith(_SCOPE))
    return Caller(str(peer.spiffe_id), ADMIN_ROLE in peer.roles, prefixes)


def _segments(scope: str) -> tuple[str, ...]:
    path = scope.removeprefix(_SCOPE)
    return tuple(path.split("/")) if path else ()
