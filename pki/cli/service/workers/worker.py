"""A worker of ``handfast ca serve --workers``: a process that serves beside others of its kind.

Its supervisor alone starts it. It ends when it is told to, or when the supervisor has ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from pki.authority import Authority
from pki.background import flush
from pki.cli.service.serving import end_now, run_service, use_log
from pki.cli.service.workers.orders import WorkerOrders
from pki.clock import system_clock
from pki.credentials.periodic import PeriodicTask
from pki.daemon import CaService
from pki.daemon.workers.channel import SupervisorChannel
from pki.daemon.workers.messages import MAY_NOT_GO_ON, Command, Failed, Numbers, Ready
from pki.errors import PkiError

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

_COUNT_SECONDS = 1.0


def main() -> None:
    """Serve as the supervisor orders. The arguments are numbers of open files: first its channel.

    The others are kept open until this process ends, as they are.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Whoever sends them to all processes of a service means the supervisor.
        signal.signal(number, signal.SIG_IGN)
    opened = [int(item) for item in sys.argv[1:]]
    for descriptor in opened:
        os.set_inheritable(descriptor, False)
    channel = SupervisorChannel(Connection(opened[0]))
    try:
        orders = channel.first()
    except (EOFError, OSError):
        sys.exit(1)
    assert isinstance(orders, WorkerOrders)
    channel.listen()
    use_log(f"worker {orders.number}")
    try:
        with _opened(orders) as authority:
            authority.log_in()
            service = CaService(authority, orders.settings, system_clock)
            asyncio.run(_serve(service, orders, channel))
    except PkiError as error:
        flush()
        channel.send(Failed(error.message, error.remedy))
        sys.exit(1)


def _opened(orders: WorkerOrders) -> Authority:
    tokens, pins = orders.tokens, orders.pins
    if pins:
        tokens = type(tokens)(tokens.module, tokens.pin, lambda label: pins.get(label, ""))
    return Authority.open(
        orders.folder, passphrase=orders.passphrase, tokens=tokens, ledger=orders.ledger
    )


async def _serve(service: CaService, orders: WorkerOrders, channel: SupervisorChannel) -> None:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()

    def commanded(command: Command) -> None:
        loop.call_soon_threadsafe(ending.set if command is Command.END else service.look_again)

    service.must_end = partial(end_now, code=MAY_NOT_GO_ON)
    channel.obey(commanded)
    counting = None
    if orders.counts:
        # Also whoever shows them: what it has counted is to count on once it was ended.
        counting = PeriodicTask(_COUNT_SECONDS, lambda: _count(service, channel), "handfast-count")

    def serving(ready: Ready) -> None:
        channel.send(ready)
        if counting is not None:
            counting.start()

    def stopping() -> None:
        if counting is not None:
            counting.stop(_COUNT_SECONDS)
            _count(service, channel)

    await run_service(
        service,
        orders.metrics,
        ending,
        serving=serving,
        stopping=stopping,
        collectors=lambda: _collectors(service, channel),
    )


def _count(service: CaService, channel: SupervisorChannel) -> None:
    from pki.daemon.workers.numbers import samples_of  # noqa: PLC0415

    channel.send(Numbers(samples_of(service.collectors(has_ledger=False))))


def _collectors(service: CaService, channel: SupervisorChannel) -> Sequence[Collector]:
    from pki.daemon.workers.numbers import SummedCollector  # noqa: PLC0415

    return [SummedCollector(service.collectors(), channel.others_numbers)]
