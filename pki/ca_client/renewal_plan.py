"""When an identity is renewed next, and what its operator should know of the last attempts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from cryptography import x509

from pki.background import defer
from pki.ca_client.renewal_times import LAST_SECOND, choose_later, choose_time, pause_after
from pki.clock import Clock
from pki.errors import CaRefusedError, CaUnreachableError, PkiError
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
        self._leaf: x509.Certificate | None = None
        self._renew_at: datetime | None = None
        self._was_out = False
        self._in_a_row = 0
        self.problem = ""
        """What the operator should know; empty if there is nothing."""
        self.remedy = ""
        """What to do about it."""
        self.is_refused = False
        """Whether the last attempt was refused by the CA itself, with its reason."""
        self.last_success: datetime | None = None
        """When an attempt last succeeded in this process; None for never."""
        self.last_failure: datetime | None = None
        """When an attempt last failed in this process; None for never."""

    @property
    def is_due(self) -> bool:
        """Whether to renew or to recover now."""
        if self._leaf is None or self._renew_at is None:
            return False
        now = self._clock()
        begins_later = now < self._leaf.not_valid_before_utc
        is_out = begins_later or now >= self._leaf.not_valid_after_utc + LAST_SECOND
        if is_out is not self._was_out:
            # What hindered a renewal need not hinder a recovery; and a clock was set right.
            self._was_out, self._attempts, self._next_attempt = is_out, 0, 0.0
            if not is_out:
                self.problem = self.remedy = ""
        return (is_out or now >= self._renew_at) and self._monotonic() >= self._next_attempt

    def begin(self, window: tuple[datetime, datetime], leaf: x509.Certificate) -> None:
        """Plan the renewal of a certificate inside the window that the CA gave."""
        self._leaf, self._renew_at = leaf, choose_time(window, leaf)
        self._attempts, self._next_attempt = 0, 0.0
        self._was_out = self.is_refused = False
        self.problem = self.remedy = ""

    def succeeded(self, window: tuple[datetime, datetime], leaf: x509.Certificate) -> None:
        """Plan the renewal of a certificate that was just obtained."""
        self.begin(window, leaf)
        self.last_success = now = self._clock()
        # One that was handed out again may be due at once; the one after it is not.
        self._in_a_row = self._in_a_row + 1 if window[1] <= now else 0
        if self._in_a_row > 1:
            # To renew at once would go on without end.
            self._renew_at = choose_later(leaf, now)
            self.problem = (
                f"the certificate of {self._spiffe_id} that the CA has just issued was to be "
                f"renewed until {window[1]:%Y-%m-%d %H:%M:%S} UTC: this machine's clock is ahead "
                "of the CA's"
            )
            self.remedy = "Set the clock of the one that is wrong"
            defer(log.warning, "%s", self.problem)

    def try_again(self) -> None:
        """Plan the next attempt for now: what hindered the last one is gone."""
        self._next_attempt = 0.0

    def failed(self, error: PkiError, *, recovering: bool) -> None:
        """Plan the next attempt, and say what is wrong.

        Args:
            error: why the last attempt failed.
            recovering: whether it was a recovery, and not a renewal.
        """
        if self._leaf is None:
            return
        self._attempts += 1
        self.last_failure = now = self._clock()
        begin, end = self._leaf.not_valid_before_utc, self._leaf.not_valid_after_utc
        remaining = (end - now).total_seconds()
        pause = pause_after(error, attempts=self._attempts, remaining=remaining)
        self._next_attempt = self._monotonic() + pause
        if now < begin:
            what = f"begins only at {begin:%Y-%m-%d %H:%M:%S} UTC by this machine's clock"
        else:
            what = f"{'ends' if remaining > 0 else 'ended'} at {end:%Y-%m-%d %H:%M:%S} UTC"
        tried = "recovered" if recovering else "renewed"
        self.problem = (
            f"the certificate of {self._spiffe_id} {what} and could not be {tried}: {error}"
        )
        self.remedy = _remedy(error, recovering=recovering)
        self.is_refused = isinstance(error, CaRefusedError) and bool(error.reason)
        is_urgent = remaining < (end - begin).total_seconds() / 4
        is_error = is_urgent or now < begin or isinstance(error, CaRefusedError)
        defer(log.error if is_error else log.warning, "%s", self.problem)


def _remedy(error: PkiError, *, recovering: bool) -> str:
    if isinstance(error, CaRefusedError) and recovering:
        return "Enroll again, with a new token"
    if isinstance(error, CaUnreachableError):
        return "See that the CA runs and can be reached; this is tried again by itself"
    return error.remedy
