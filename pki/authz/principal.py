"""The principal: verified names, and how they were proved."""

from __future__ import annotations

from dataclasses import dataclass

from pki.identity import DnsName, SpiffeId, Subject

X509_SVID = "x509-svid"


@dataclass(frozen=True, slots=True)
class Principal:
    """A peer with verified names. Names of different types are never compared.

    Args:
        spiffe_id: its SPIFFE ID; None if it has none.
        dns_names: the DNS names that it holds.
        subject: its distinguished name.
        proof: how the names were proved, e.g. ``x509-svid``.
    """

    spiffe_id: SpiffeId | None
    dns_names: frozenset[DnsName] = frozenset()
    subject: Subject | None = None
    proof: str = X509_SVID
