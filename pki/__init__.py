"""handfast: every service gets a short-lived X.509 identity, and every gRPC call proves both sides.

The names here are loaded when they are first used: a service never loads the CA's code, and an
issuance script never loads gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pki.access.decision_log import DecisionLogFile, LogWhen, WhenFull
    from pki.access.peer import Peer, peer
    from pki.authority import Authority
    from pki.credentials.source import DirectorySource, PemSource, Source
    from pki.errors import PkiError
    from pki.rpc.status import reason_of
    from pki.workload import Workload

__all__ = [
    "Authority",
    "DecisionLogFile",
    "DirectorySource",
    "LogWhen",
    "Peer",
    "PemSource",
    "PkiError",
    "Source",
    "WhenFull",
    "Workload",
    "peer",
    "reason_of",
]

_HOMES = {
    "Authority": "pki.authority",
    "DecisionLogFile": "pki.access.decision_log",
    "DirectorySource": "pki.credentials.source",
    "LogWhen": "pki.access.decision_log",
    "Peer": "pki.access.peer",
    "PemSource": "pki.credentials.source",
    "PkiError": "pki.errors",
    "Source": "pki.credentials.source",
    "WhenFull": "pki.access.decision_log",
    "Workload": "pki.workload",
    "peer": "pki.access.peer",
    "reason_of": "pki.rpc.status",
}


# Type checkers take a module that has this for one with every name, and report no wrong one.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Load a public name's module when it is first asked for.

        Raises:
            MissingExtraError: if its module needs an extra that is not installed.
        """
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return getattr(import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            from pki.extras import extra_of, missing_extra  # noqa: PLC0415 - loaded after a failure

            extra = extra_of(error)
            if extra is None:
                raise
            raise missing_extra(f"pki.{name}", [extra]) from None


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted(__all__)
