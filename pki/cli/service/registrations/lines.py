"""Registrations as commands print them."""

from __future__ import annotations

from datetime import UTC, timedelta

from pki._proto.handfast.ca.v1 import registrations_pb2 as messages
from pki.authority.lifetimes import duration_text
from pki.errors import counted


def registration_json(message: messages.Registration) -> dict[str, object]:
    """Return a registration as a script reads it."""
    document: dict[str, object] = {
        "spiffe_id": message.spiffe_id,
        "dns_names": list(message.dns_names),
        "ip_addresses": list(message.ip_addresses),
        "lifetime_seconds": message.lifetime.seconds,
        "profile": message.profile,
        "proofs": list(message.proofs),
        "recovery": {
            "times": message.recovery.times,
            "within_seconds": message.recovery.within.seconds,
            "max_sleep_seconds": message.recovery.max_sleep.seconds,
        },
        "revision": message.revision,
        "created_at": message.created_at.ToDatetime(tzinfo=UTC),
        "created_by": message.created_by,
    }
    if message.HasField("oidc"):
        document["oidc"] = {
            "issuer": message.oidc.issuer,
            "claims": dict(sorted(message.oidc.claims.items())),
        }
    return document


def registration_lines(message: messages.Registration) -> list[str]:
    """Return a registration as a person reads it."""
    names = [*message.dns_names, *message.ip_addresses]
    recovery = message.recovery
    lines = [
        f"  certificates   {message.profile}, {duration_text(message.lifetime.ToTimedelta())} each"
        + (f", also for {', '.join(names)}" if names else ""),
        f"  by             {', '.join(message.proofs)}",
    ]
    if message.HasField("oidc"):
        claims = ", ".join(f"{name}={value}" for name, value in message.oidc.claims.items())
        lines.append(f"  JWTs           of {message.oidc.issuer} with {claims}")
    lines.append(
        f"  recovery       {counted(recovery.times, 'time')} within "
        f"{_period_text(recovery.within.ToTimedelta())}, up to "
        f"{_period_text(recovery.max_sleep.ToTimedelta())} after its end"
        if recovery.times
        else "  recovery       none"
    )
    return lines


def _period_text(period: timedelta) -> str:
    return duration_text(period) if period % timedelta(days=1) else f"{period.days}d"
