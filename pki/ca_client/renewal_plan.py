"""When an identity is renewed next, and what its operator should know of the last attempts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from cryptography import x509

from pki.background import defer
from pki.ca_client.renewal_times import choose_time, pause_after
from pki.clock import Clock
from pki.errors import CaRefusedError, PkiError
from pki.identity import SpiffeId

log = logging.getLogger("handfast.ca_client")


class RenewalPlan:
    """The plan for one identity; one thread at a time changes it.

    Args:
        spiffe_id: whose certificate it is.
        clock: returns the time.
        monotonic: returns seconds that only grow.
    """

    def __init__(self, spiffe_id: SpiffeId, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._spiffe_id = spiffe_id
        self._clock = clock
        self._monotonic = monotonic
        self._attempts = 0
        self._next_attempt = 0.0
        self._renew_at: datetime | None = None
        self.problem = ""
        """What the operator should know; empty if there is nothing."""
        self.last_success: datetime | None = None
        """When an attempt last succeeded in this process; None for never."""
        self.last_failure: datetime | None = None
        """When an attempt last failed in this process; None for never."""

    @property
    def is_due(self) -> bool:
        """Whether to renew now."""
        return (
            self._renew_at is not None
            and self._clock() >= self._renew_at
            and self._monotonic() >= self._next_attempt
        )

    def begin(self, window: tuple[datetime, datetime], leaf: x509.Certificate) -> None:
        """Plan the renewal of a certificate inside the window that the CA gave."""
        self._renew_at = choose_time(window, leaf)
        self._attempts, self._next_attempt, self.problem = 0, 0.0, ""

    def succeeded(self, window: tuple[datetime, datetime], leaf: x509.Certificate) -> None:
        """Plan the renewal of a certificate that was just obtained."""
        self.begin(window, leaf)
        self.last_success = self._clock()

    def try_again(self) -> None:
        """Plan the next attempt for now: what hindered the last one is gone."""
        self._next_attempt = 0.0

    def failed(self, error: PkiError, leaf: x509.Certificate) -> None:
        """Plan the next attempt, and say what is wrong.

        Args:
            error: why the last attempt failed.
            leaf: the present certificate.
        """
        self._attempts += 1
        self.last_failure = now = self._clock()
        end = leaf.not_valid_after_utc
        remaining = (end - now).total_seconds()
        pause = pause_after(error, attempts=self._attempts, remaining=remaining)
        self._next_attempt = self._monotonic() + pause
        self.problem = (
            f"the certificate of {self._spiffe_id} ends at {end:%Y-%m-%d %H:%M:%S} UTC and "
            f"could not be renewed: {error}"
            if remaining > 0
            else f"the certificate of {self._spiffe_id} ended at {end:%Y-%m-%d %H:%M:%S} UTC "
            f"and could not be recovered: {error}"
        )
        life = (end - leaf.not_valid_before_utc).total_seconds()
        is_urgent = remaining < life / 4 or isinstance(error, CaRefusedError)
        defer(log.error if is_urgent else log.warning, "%s", self.problem)
