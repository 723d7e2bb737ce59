"""What the server's own credential, where it is at hand, leaves of the concluded causes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pki.diagnosis.report import Finding, Status

_SHOWN = 90
# Which failures a check that passed rules out, by the end of its name.
_RULED_OUT = {
    "trust": {
        "unknown-ca",
        "incomplete-chain",
        "self-signed",
        "path-length",
        "issuer-not-ca",
        "bad-signature",
        "name-constraint",
    },
    "times of its CAs": {"expired", "not-yet-valid"},
    "usage": {"wrong-usage"},
    "revocation": {"revoked", "issuer-revoked", "no-crl", "stale-crl"},
}


def weigh_by_other_end(findings: Iterable[Finding], at_server: Sequence[Finding]) -> list[Finding]:
    """Return the findings, with their likely causes weighed by what the server would find.

    A failure of which the server's credential shows a sign comes first; one that it rules out is
    left out, unless nothing else is left of that check.

    Args:
        findings: the findings of this end.
        at_server: what the server finds of our certificate, by its own credential.
    """
    signs = {item.failure for item in at_server if item.status is Status.WARNING}
    passed = {item.check.rpartition(": ")[2] for item in at_server if item.status is Status.OK}
    ruled_out = set().union(*(slugs for end, slugs in _RULED_OUT.items() if end in passed)) - signs
    weighed = [
        replace(item, likelihood=max(item.likelihood, _SHOWN))
        if not item.is_sure and item.failure in signs
        else item
        for item in findings
    ]
    left = {item.check for item in weighed if not item.is_sure and item.failure not in ruled_out}
    return [
        item
        for item in weighed
        if item.is_sure or item.failure not in ruled_out or item.check not in left
    ]
