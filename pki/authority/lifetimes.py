"""Lifetimes, and when a certificate is due for renewal."""

from __future__ import annotations

from datetime import datetime, timedelta

from pki.errors import InputError

DEFAULT_LEAF = timedelta(hours=1)
MAX_LEAF = timedelta(hours=24)
DEFAULT_ROOT = timedelta(days=3650)
DEFAULT_ISSUING = timedelta(days=365)
DEFAULT_CRLS = timedelta(days=7)
DEFAULT_BACKDATE = timedelta(minutes=1)
MAX_BACKDATE = timedelta(hours=1)

_JITTER = 0.1
_JITTER_STEPS = 1024


def leaf_lifetime(requested: timedelta) -> tuple[timedelta, str]:
    """Check a leaf's lifetime, and cut it to the longest that is allowed.

    Returns:
        The lifetime, and a note for the user if it was cut, else the empty string.

    Raises:
        InputError: if it is not a positive number of whole seconds.
    """
    if requested <= timedelta(0) or requested.microseconds:
        raise InputError(
            f"lifetime {requested} is not a positive number of whole seconds",
            remedy="Write one such as 1h",
        )
    if requested > MAX_LEAF:
        return MAX_LEAF, f"lifetime cut from {requested} to {MAX_LEAF}: no leaf lives longer"
    return requested, ""


def is_renewal_due(issued_at: datetime, not_after: datetime, serial: int, *, now: datetime) -> bool:
    """Return whether a certificate is due for renewal.

    A certificate that was issued in the future is due at once: the clock was ahead then, and no
    receiver accepts the certificate before its ``notBefore``.
    """
    return now < issued_at or now >= renewal_due(issued_at, not_after, serial)


def renewal_due(issued_at: datetime, not_after: datetime, serial: int) -> datetime:
    """Return the time from which a certificate is due for renewal.

    It is half of the lifetime after the issue, plus a jitter of up to a tenth of the lifetime, so
    that certificates issued together are not renewed together. The jitter comes from the serial
    number's random bits, so the result is the same each time.
    """
    life = not_after - issued_at
    step = serial % _JITTER_STEPS / _JITTER_STEPS
    return issued_at + life * (0.5 + _JITTER * step)
