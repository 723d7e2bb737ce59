"""When an identity is renewed, and when it is tried again after a failure."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from cryptography import x509

from pki.ca_client.rpc_errors import BusyCaError
from pki.errors import CaRefusedError, PkiError

STEP_SECONDS = 0.5
LAST_SECOND = timedelta(seconds=1)
"""Certificates count whole seconds: one has ended after this, and not within it."""
_FIRST_BACKOFF, _MOST_BACKOFF = 1.0, 60.0
_ATTEMPTS_LEFT = 8
_REFUSED_PAUSE = 60.0
# Refusals that another attempt with the same proof can't change.
_FOR_GOOD = frozenset(
    {
        "NOT_RENEWABLE",
        "NOT_REGISTERED",
        "PROOF_REFUSED",
        "NAME_NOT_PERMITTED",
        "CERTIFICATE_REVOKED",
        "ISSUER_DISTRUSTED",
    }
)


def choose_time(window: tuple[datetime, datetime], leaf: x509.Certificate) -> datetime:
    """Return when to renew a certificate: a random time inside the window that the CA gave."""
    begin, end = window
    if not leaf.not_valid_before_utc <= begin <= end <= leaf.not_valid_after_utc:
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        begin, end = leaf.not_valid_before_utc + life * 0.5, leaf.not_valid_before_utc + life * 0.6
    return begin + (end - begin) * random.random()  # noqa: S311 - no secret


def choose_later(leaf: x509.Certificate, now: datetime) -> datetime:
    """Return when to renew a certificate whose window was over when it came: not at once again."""
    remaining = leaf.not_valid_after_utc - now
    return now + remaining * random.uniform(0.4, 0.6)  # noqa: S311 - no secret


def pause_after(error: PkiError, *, attempts: int, remaining: float) -> float:
    """Return how many seconds to wait before the next attempt, with jitter.

    Args:
        error: why the last attempt failed.
        attempts: how many have failed in a row.
        remaining: seconds until the certificate ends; several attempts must fit in.
    """
    pause = min(_MOST_BACKOFF, _FIRST_BACKOFF * 2 ** min(attempts - 1, 10))
    if remaining > 0:
        pause = min(pause, max(remaining / _ATTEMPTS_LEFT, STEP_SECONDS / 2))
    pause = random.uniform(pause / 2, pause)  # noqa: S311 - no secret
    if isinstance(error, BusyCaError) and error.retry_after is not None:
        pause = max(pause, error.retry_after * random.uniform(1.0, 1.5))  # noqa: S311
    if isinstance(error, CaRefusedError) and error.reason in _FOR_GOOD:
        pause = max(pause, _REFUSED_PAUSE)
    return pause
