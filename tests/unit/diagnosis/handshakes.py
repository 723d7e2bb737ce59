"""Credentials and a time for tests of checks, which do no I/O."""

from __future__ import annotations

from datetime import UTC, datetime

from pki.diagnosis.checks.own_credential import OwnCredential
from tests.interop.seeds import Ca

NOW = datetime.now(UTC)


def own_credential(ca: Ca | None = None) -> OwnCredential:
    """Return a good credential of a workload."""
    used = ca or Ca()
    made = used.leaf("caller")
    return OwnCredential(tuple(made.chain), made.key, (used.root,))
