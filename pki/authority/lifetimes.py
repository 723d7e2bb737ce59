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

# An issuing CA, and a root, is prepared at half its life and activated with a sixth left.
ISSUERS_PREPARED_AT = 2
ISSUERS_ACTIVATED_LEFT = 6

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
            remedy=f"Ask for {duration_text(MAX_LEAF)} or less: who enrolled renews by itself, and "
            "a timer for handfast renew keeps others fresh",
        )


def check_issuing_lifetime(lifetime: timedelta) -> None:
    """Check an issuing CA's lifetime: its last sixth must be longer than any leaf lives.

    The next issuing CA is activated when a sixth is left. Until then this one signs leaves, and
    none of them may end after it.

    Raises:
        InputError: if it is too short, or no whole number of seconds.
    """
    _check_whole(lifetime)
    if lifetime < MAX_LEAF * ISSUERS_ACTIVATED_LEFT:
        raise InputError(
            f"lifetime {duration_text(lifetime)} of an issuing CA is too short: its last sixth, "
            f"{duration_text(lifetime / ISSUERS_ACTIVATED_LEFT)}, is shorter than a leaf may live, "
            f"{duration_text(MAX_LEAF)}",
            remedy=f"Choose {duration_text(MAX_LEAF * ISSUERS_ACTIVATED_LEFT)} or more",
        )


def check_root_lifetime(lifetime: timedelta, issuing: timedelta) -> None:
    """Check a root's lifetime: its last sixth must be longer than its issuing CAs live.

    Args:
        lifetime: the root's.
        issuing: that of its issuing CAs.

    Raises:
        InputError: if it is too short, or no whole number of seconds.
    """
    _check_whole(lifetime)
    if lifetime < issuing * ISSUERS_ACTIVATED_LEFT:
        raise InputError(
            f"lifetime {duration_text(lifetime)} of a root is too short: its last sixth, "
            f"{duration_text(lifetime / ISSUERS_ACTIVATED_LEFT)}, is shorter than an issuing CA "
            f"lives, {duration_text(issuing)}",
            remedy=f"Choose {duration_text(issuing * ISSUERS_ACTIVATED_LEFT)} or more for the "
            "root, or less for the issuing CA",
        )


def check_within_root(lifetime: timedelta, root_end: datetime, *, now: datetime) -> None:
    """Check that an issuing CA which is made now ends before its root.

    Raises:
        InputError: if it does not.
    """
    left = root_end - now
    if lifetime > left:
        raise InputError(
            f"lifetime {duration_text(lifetime)} is longer than what is left of the root, which "
            f"expires at {root_end:%Y-%m-%d %H:%M:%S} UTC",
            remedy="Prepare a new root (handfast ca root prepare), or choose a shorter lifetime: "
            f"--lifetime {max(1, left.days)}d",
        )


def prepare_due(begin: datetime, end: datetime) -> datetime:
    """Return when the successor of an issuing CA or a root is to be prepared: at half its life."""
    return begin + (end - begin) / ISSUERS_PREPARED_AT


def activate_due(begin: datetime, end: datetime) -> datetime:
    """Return when its successor is to be activated at the latest: with a sixth of its life left."""
    return end - (end - begin) / ISSUERS_ACTIVATED_LEFT


def _check_whole(lifetime: timedelta) -> None:
    if lifetime <= timedelta(0) or lifetime.microseconds:
        raise InputError(
            f"lifetime {lifetime} is not a positive number of whole seconds",
            remedy="Write one such as 365d",
        )


def duration_text(duration: timedelta) -> str:
    """Return a duration in its largest whole unit up to hours: ``48h``, ``90m``, ``5s``.

    A whole number of days of a week or more is in days.
    """
    if duration >= timedelta(days=7) and not duration % timedelta(days=1):
        return f"{duration.days}d"
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
