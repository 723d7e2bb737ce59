"""How long things live, and when a certificate is due for renewal."""

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


def leaf_lifetime(asked: timedelta) -> tuple[timedelta, str]:
    """Check a leaf's lifetime.

    Returns:
        The lifetime, and what was changed on the way, to be said aloud; empty if nothing was.

    Raises:
        InputError: if it is not a positive number of whole seconds.
    """
    if asked <= timedelta(0) or asked.microseconds:
        raise InputError(
            f"lifetime {asked} is not a positive number of whole seconds",
            remedy="Give one such as 1h",
        )
    if asked > MAX_LEAF:
        return MAX_LEAF, f"lifetime cut from {asked} to {MAX_LEAF}: no leaf lives longer"
    return asked, ""


def is_renewal_due(issued_at: datetime, not_after: datetime, serial: int, *, now: datetime) -> bool:
    """Return whether a certificate is due for renewal.

    One that was issued in the future is due at once: a clock that was ahead issued it, and no
    receiver takes it before its notBefore.
    """
    return now < issued_at or now >= renewal_due(issued_at, not_after, serial)


def renewal_due(issued_at: datetime, not_after: datetime, serial: int) -> datetime:
    """Return the moment from which a certificate is due for renewal.

    It is half of the life counted from the moment of issue, later by up to a tenth of the life: a
    herd that was issued together does not come back together. The serial number's random bits give
    the jitter, so the answer is the same each time.
    """
    life = not_after - issued_at
    step = serial % _JITTER_STEPS / _JITTER_STEPS
    return issued_at + life * (0.5 + _JITTER * step)
