"""When a workload asks the CA again after a failure."""

from __future__ import annotations

import random

from pki.ca_client.calls import BusyCaError
from pki.errors import CaRefusedError, PkiError

_FIRST_BACKOFF, _MOST_BACKOFF = 1.0, 60.0
_SHORTEST = 0.25
_ATTEMPTS_LEFT = 8
_REFUSED_PAUSE = 60.0
# Refusals that another attempt with the same proof can't change.
_FOR_GOOD = frozenset({"NOT_RENEWABLE", "NOT_REGISTERED", "PROOF_REFUSED", "NAME_NOT_PERMITTED"})


def pause_after(error: PkiError, attempts: int, remaining: float) -> float:
    """Return for how many seconds to wait: longer after each failure, with jitter.

    Args:
        error: why the last attempt failed.
        attempts: how many have failed in a row, from 1.
        remaining: seconds until the certificate ends, for which several attempts are left; 0 or
            less once it has ended.
    """
    pause = min(_MOST_BACKOFF, _FIRST_BACKOFF * 2 ** min(attempts - 1, 10))
    if remaining > 0:
        pause = min(pause, max(remaining / _ATTEMPTS_LEFT, _SHORTEST))
    pause = random.uniform(pause / 2, pause)  # noqa: S311 - no secret
    if isinstance(error, BusyCaError) and error.retry_after is not None:
        pause = max(pause, error.retry_after * random.uniform(1.0, 1.5))  # noqa: S311
    if isinstance(error, CaRefusedError) and error.reason in _FOR_GOOD:
        pause = max(pause, _REFUSED_PAUSE)
    return pause
