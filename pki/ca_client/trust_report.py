"""Tells the CA which trust bundle an identity holds, and which certificate it uses."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pki._proto.handfast.ca.v1 import trust_pb2
from pki.background import defer
from pki.ca_client.connection import CaConnection
from pki.ca_client.rpc_errors import call
from pki.errors import PkiError

log = logging.getLogger("handfast.ca_client")

_SECONDS = 60.0


class TrustReport:
    """When to report, and the report.

    Args:
        monotonic: returns seconds that only grow.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._next = 0.0
        self._reported = 0

    def is_due(self, bundle_number: int) -> bool:
        """Return whether to report now.

        Args:
            bundle_number: the number of the bundle that is held.
        """
        return bundle_number != self._reported or self._monotonic() >= self._next

    def send_soon(self) -> None:
        """Report at the next opportunity."""
        self._next = 0.0

    def send(
        self, connection: CaConnection | None, bundle_number: int, serial: int, sequence: int
    ) -> None:
        """Report, or try again later.

        Args:
            connection: to the CA; None if there is none now.
            bundle_number: the number of the bundle that is held.
            serial: the serial number of the certificate in use.
            sequence: of the last revocations that were heard.
        """
        self._next = self._monotonic() + _SECONDS
        if connection is None:
            return
        self._reported = bundle_number
        report = trust_pb2.ReportTrustRequest(
            bundle_number=bundle_number, serial=f"{serial:x}", sequence=sequence
        )
        try:
            call(lambda: connection.trust.ReportTrust(report, timeout=5.0))
        except PkiError as error:
            defer(log.info, "the CA could not be told what is trusted here: %s", error)
