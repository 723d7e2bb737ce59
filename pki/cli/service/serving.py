"""What each process that serves a CA does, and what the command says about it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from pki.background import flush
from pki.cli.output import print_error
from pki.cli.service.metrics_page import metrics_page
from pki.daemon import CaService
from pki.daemon.workers.messages import Ready
from pki.errors import PkiError, join_first, printable

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

_GRACE_SECONDS = 10.0
_COLLECTED_AFTER = 10_000
_MOST_SHOWN = 5
# A thread that commits gives Python's lock back some fifty times. While the event loop is busy, it
# would wait for 5 ms each time: renewals are to go on beside thousands of calls.
_SWITCH_SECONDS = 0.0005


def use_log(process: str = "") -> None:
    """Log to standard error.

    Args:
        process: the name of this process in the lines; empty for none.
    """
    name = process and f"{process} "
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s %(levelname)s {name}%(name)s: %(message)s"
    )
    # A line for each table of the ledger tells nobody anything.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_bad_message)


def _is_no_bad_message(record: logging.LogRecord) -> bool:
    """Return whether a line of gRPC is about something else than bytes that are no request.

    Anybody may send those, as often as they like. The caller is told; here each would be a
    traceback, between which the lines that matter are lost.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], DecodeError))


async def run_service(
    service: CaService,
    metrics: str | None,
    ending: asyncio.Event,
    *,
    serving: Callable[[Ready], None],
    stopping: Callable[[], None],
    collectors: Callable[[], Sequence[Collector]] | None = None,
) -> None:
    """Serve a CA until it shall end.

    Args:
        service: the CA.
        metrics: where to show its metrics; None for nowhere.
        ending: is set when it shall end.
        serving: called once it serves.
        stopping: called when it accepts no new calls any more.
        collectors: returns what to show; None for the numbers of this process.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    await service.start()
    _leave_out_of_collections()
    shown = (collectors or service.collectors)() if metrics else ()
    addresses = service.parts.addresses
    with metrics_page(metrics, shown, lambda: nullcontext(service.workload)) as page:
        serving(
            Ready(
                addresses.authority,
                addresses.enrollment,
                str(service.workload.spiffe_id.trust_domain),
                tuple(map(str, service.adopted)),
                page,
            )
        )
        await ending.wait()
    stopping()
    await service.stop(_GRACE_SECONDS)


def end_now(error: PkiError, code: int = 1) -> None:
    """End without closing anything: that would read the ledger's file, and write it back."""
    flush()
    print_error(error.message, error.remedy)
    os._exit(code)


def _leave_out_of_collections() -> None:
    """Let the garbage collector look no more at what was made until now, which stays.

    Each request makes a few hundred objects. With the defaults, a quarter of the processor time of
    a busy CA went into looking at all modules again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER, 20, 20)


def say_serving(ready: Ready) -> None:
    """Say that the CA is served, to people and to systemd."""
    if ready.adopted:
        _say(adopted_line(ready.adopted))
    _say(
        f"Serving the CA of {ready.trust_domain}: workloads at {ready.authority}, "
        f"enrollment at {ready.enrollment}"
    )
    if ready.metrics:
        _say(f"Metrics at {ready.metrics}")
    notify_systemd("READY=1")


def say_ending() -> None:
    """Say that the CA accepts no new calls any more."""
    notify_systemd("STOPPING=1")
    _say("Ending: no new calls; running ones have ten seconds")


def adopted_line(names: Sequence[str]) -> str:
    """Say which workloads were registered because they have certificates from before."""
    verb = "1 workload that has" if len(names) == 1 else f"{len(names)} workloads that have"
    return f"Registered {verb} certificates from before: {join_first(names, _MOST_SHOWN)}"


def _say(line: str) -> None:
    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def notify_systemd(state: str) -> None:
    """Tell systemd about the process, where it has asked for that (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
        try:
            notifying.sendto(state.encode(), address)
        except OSError as error:
            print_error(f"note: systemd could not be told {state}: {error.strerror or error}")
