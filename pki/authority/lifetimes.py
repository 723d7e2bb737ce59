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


def check_leaf_lifetime(requested: timedelta) -> None:
    """Check the lifetime that is requested for a leaf.

    Raises:
        InputError: if it is not a positive number of whole seconds, or longer than any leaf lives.
    """
    if requested <= timedelta(0) or requested.microseconds:
        raise InputError(
            f"lifetime {requested} is not a positive number of whole seconds",
            remedy="Write one such as 1h",
        )
    if requested > MAX_LEAF:
        raise InputError(
            f"lifetime {duration_text(requested)} is longer than {duration_text(MAX_LEAF)}, the "
            "longest of a leaf",
            remedy=f"Ask for {duration_text(MAX_LEAF)} or less; a timer for handfast renew keeps "
            "the certificate fresh",
        )


def duration_text(duration: timedelta) -> str:
    """Return a duration in its largest whole unit up to hours: ``48h``, ``90m``, ``5s``."""
    for unit, letter in ((timedelta(hours=1), "h"), (timedelta(minutes=1), "m")):
        if not duration % unit:
            return f"{duration // unit}{letter}"
    return f"{duration.total_seconds():g}s"


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
