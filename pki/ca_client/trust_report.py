"""Tells the CA which trust bundle an identity holds, and which certificate it uses."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from pki._proto.handfast.ca.v1 import trust_pb2
from pki.background import defer
from pki.ca_client.connection import CaConnection
from pki.ca_client.rpc_errors import call
from pki.errors import PkiError

log = logging.getLogger("handfast.ca_client")

_SECONDS, _RETRY_SECONDS = 900.0, 60.0


class TrustReport:
    """When to report, and the report.

    What the CA knows is told again now and then, because it may have been restored from a backup;
    so seldom, and so spread, that ten thousand workloads are no load. While the CA can't be told,
    the attempts become as seldom: not all workloads report when it is back.

    Args:
        monotonic: returns seconds that only grow.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._next = 0.0
        self._reported = 0
        self._retry = _RETRY_SECONDS

    def is_due(self, bundle_number: int) -> bool:
        """Return whether to report now.

        Args:
            bundle_number: the number of the bundle that is held.
        """
        return bundle_number != self._reported or self._monotonic() >= self._next

    def send_soon(self) -> None:
        """Report at the next opportunity: there is something new."""
        self._next, self._retry = 0.0, _RETRY_SECONDS

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
        if bundle_number != self._reported:
            self._retry = _RETRY_SECONDS
        planned = self._next = self._monotonic() + _spread(self._retry)
        self._retry = min(self._retry * 2, _SECONDS)
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
            return
        self._retry = _RETRY_SECONDS
        # Unless there is something new to report meanwhile.
        if self._next == planned:
            self._next = self._monotonic() + _spread(_SECONDS)


def _spread(seconds: float) -> float:
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
