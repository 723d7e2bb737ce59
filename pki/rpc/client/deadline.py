"""When a call's time is over, by the clock that only grows."""

from __future__ import annotations

import threading
import time


def deadline(timeout: float | None) -> float | None:
    """Return the moment at which a call that begins now is over; None for one without a limit.

    A number of seconds that gRPC can't reckon with (infinite, none at all, some centuries) means to
    it that the time is over already, and so it does here.
    """
    if timeout is None:
        return None
    longest = threading.TIMEOUT_MAX - time.time()
    return time.monotonic() + (timeout if timeout < longest else 0.0)
