"""Who may ask for a server's health: the callers with a grant, or every verified peer."""

from __future__ import annotations

from enum import StrEnum

from pki.access.public_methods import NO_PUBLIC_METHODS, PublicMethods

_HEALTH = "/grpc.health.v1.Health/"
_PUBLIC_HEALTH = PublicMethods(
    frozenset(_HEALTH + name for name in ("Check", "Watch", "List")), "health = public"
)


class HealthAccess(StrEnum):
    """Who may ask for a server's health."""

    GRANTED = "granted"
    PUBLIC = "public"


def public_methods(health: HealthAccess) -> PublicMethods:
    """Return the methods that need no grant."""
    return _PUBLIC_HEALTH if health is HealthAccess.PUBLIC else NO_PUBLIC_METHODS
