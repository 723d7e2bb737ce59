"""The deadline of a call, by the monotonic clock."""

from __future__ import annotations

import threading
import time


def deadline(timeout: float | None) -> float | None:
    """Return the deadline of a call that begins now; None for a call without one.

    For gRPC, a timeout that it can't compute with (infinite, NaN, some centuries) is over at once;
    so it is here.
    """
    if timeout is None:
        return None
    longest = threading.TIMEOUT_MAX - time.time()
    return time.monotonic() + (timeout if timeout < longest else 0.0)
