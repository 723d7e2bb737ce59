"""Where a CA is called, and its methods by their paths."""

from __future__ import annotations

from pki.identity import SpiffeId, derive_names

ISSUE = "/handfast.ca.v1.Authority/IssueBatch"
RENEW = "/handfast.ca.v1.Authority/Renew"
WATCH = "/handfast.ca.v1.Trust/WatchTrust"
REPORT = "/handfast.ca.v1.Trust/ReportTrust"
CHECKPOINT = "/handfast.ca.v1.Audit/GetCheckpoint"


def host_and_port(address: str) -> tuple[str, int]:
    """Return an address as sockets take it."""
    host, _, port = address.rpartition(":")
    return host, int(port)


def server_name(spiffe_id: SpiffeId) -> str:
    """Return the DNS name that is in a server's certificate."""
    derived = derive_names(spiffe_id).dns
    assert derived is not None
    return derived.name
