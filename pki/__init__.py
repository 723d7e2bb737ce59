"""handfast: every service gets a short-lived X.509 identity, and every gRPC call proves both sides.

The names here are loaded when they are first used: a service never loads the CA's code, and an
issuance script never loads gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pki.authority import Authority
    from pki.errors import PkiError
    from pki.rpc import Peer, PemSource, Workload, peer, reason_of

__all__ = ["Authority", "Peer", "PemSource", "PkiError", "Workload", "peer", "reason_of"]

_HOMES = {
    "Authority": "pki.authority",
    "PkiError": "pki.errors",
    "Peer": "pki.rpc",
    "Workload": "pki.rpc",
    "PemSource": "pki.rpc",
    "peer": "pki.rpc",
    "reason_of": "pki.rpc",
}


def __getattr__(name: str) -> Any:
    """Load a public name's module when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
