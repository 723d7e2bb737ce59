"""What the options of ``handfast doctor`` ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pki.tls.starttls import StartTls


@dataclass(frozen=True, slots=True)
class Questions:
    """What to examine beside the connection, and how; None asks nothing.

    Args:
        name: the expected name of the server.
        bundle: the file of the roots to trust, instead of the credential's.
        policy: the policy file.
        expect_role: the role that the server must have by the policy.
        method: the method that we want to call.
        server_credential: the server's credential directory.
        sni: the DNS name to ask the server for.
        starttls: the protocol in which to ask for TLS first.
        seconds: how long each handshake may take.
    """

    name: str | None
    bundle: Path | None
    policy: Path | None
    expect_role: str | None
    method: str | None
    server_credential: Path | None
    sni: str | None
    starttls: StartTls | None
    seconds: float
