"""All failures, by slug."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pki.failures.calls import CALLS
from pki.failures.certificates import CERTIFICATES
from pki.failures.connection import CONNECTION
from pki.failures.endpoints import ENDPOINTS
from pki.failures.failure import Failure
from pki.failures.files import FILES
from pki.failures.handshake import HANDSHAKE

FAILURES: Mapping[str, Failure] = MappingProxyType(
    {
        item.slug: item
        for item in (*FILES, *CONNECTION, *HANDSHAKE, *CERTIFICATES, *ENDPOINTS, *CALLS)
    }
)
