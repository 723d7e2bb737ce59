"""The CA: issues, renews, revokes, and remembers durably what it did.

The names here are loaded when they are first used. So a module of this package is imported without
the whole CA, and threads that import two of them at once do not wait for each other in a circle,
which Python ends by handing out a module that is not whole (python/cpython#83065).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pki.extras import require_one_version

if TYPE_CHECKING:
    from pki.authority.authority import Authority
    from pki.authority.issued import Issued
    from pki.authority.ledger import CertificateRecord, IssuerRecord
    from pki.authority.orders import NamedOrder

# Before all else: modules of two versions may fail in any way, or not at all.
require_one_version()

__all__ = ["Authority", "CertificateRecord", "Issued", "IssuerRecord", "NamedOrder"]

_HOMES = {
    "Authority": "pki.authority.authority",
    "CertificateRecord": "pki.authority.ledger",
    "Issued": "pki.authority.issued",
    "IssuerRecord": "pki.authority.ledger",
    "NamedOrder": "pki.authority.orders",
}

# Type checkers take a module that has this for one with every name, and report no wrong one.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Load a public name's module when it is first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
