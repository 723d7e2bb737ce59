"""Have several connections work at once until a time is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence


def work_until(workers: Sequence[Callable[[], int]], seconds: float) -> dict[str, float]:
    """Call each worker again and again in a thread of its own.

    Args:
        workers: one for each connection; each returns how many certificates it obtained.
        seconds: how long.

    Returns:
        ``done``: how many certificates; ``seconds``: how long it took; ``cpu``: the processor time
        of this process, in seconds.
    """
    done = [0] * len(workers)
    failed: list[BaseException] = []
    begun, cpu = time.perf_counter(), time.process_time()
    end = begun + seconds

    def work(place: int) -> None:
        try:
            while time.perf_counter() < end:
                done[place] += workers[place]()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(workers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return {
        "done": sum(done),
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu,
    }
