"""Serves a CA with several processes, from the one that has opened it and asked for its secrets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from pki.authority import Authority
from pki.authority.ledger.commits.process_turns import offer_turns
from pki.authority.ledger.databases.place import LedgerPlace
from pki.cli.service.serving import say_ending, say_serving
from pki.cli.service.workers.orders import WorkerOrders
from pki.cli.state.key_access import PinMemory
from pki.daemon import CaSettings
from pki.daemon.workers.ports import reserve_ports
from pki.daemon.workers.supervisor import Supervisor, WorkerProgram
from pki.errors import InputError
from pki.files import HeldLock

_MOST_WORKERS = 64
_MAIN = "from pki.cli.service.workers.worker import main; main()"


def check_workers(number: int) -> None:
    """Check how many workers shall serve.

    Raises:
        InputError: if it is no possible number, or this system can't share ports among them.
    """
    if not 1 <= number <= _MOST_WORKERS:
        raise InputError(
            f"--workers {number} is no possible number",
            remedy=f"Choose 1 to {_MOST_WORKERS}: as many as the CA shall use cores",
        )
    if number > 1 and sys.platform != "linux":
        raise InputError(
            "several workers need Linux, which spreads connections among them",
            remedy="Serve with --workers 1",
        )


def serve_with_workers(
    authority: Authority,
    settings: CaSettings,
    ledger: LedgerPlace | None,
    pins: PinMemory,
    metrics: str | None,
    locks: Sequence[HeldLock],
) -> None:
    """Serve a CA with workers until SIGTERM.

    Args:
        authority: the CA, which is closed: only the workers use it.
        settings: how it is served.
        ledger: where the ledger lies; None for the CA's folder.
        pins: the PINs that a person has typed.
        metrics: where the metrics are shown; None for nowhere.
        locks: what keeps other services from this CA, until the last worker has ended.

    Raises:
        PkiError: if it can't be served, or may be served no more.
    """
    context = authority.context
    offer_turns(context.ledger.mark.path.parent)
    addresses = {"--listen": settings.listen, "--enroll-listen": settings.enroll_listen}
    with ExitStack() as stack:
        ports = reserve_ports(stack, addresses)
        settings = replace(
            settings, listen=ports["--listen"], enroll_listen=ports["--enroll-listen"]
        )

        def orders(number: int) -> WorkerOrders:
            is_first = number == 1
            return WorkerOrders(
                number,
                context.directory.path,
                # To prune is enough for one.
                settings if is_first else replace(settings, prune_after=None),
                ledger,
                context.passphrase,
                replace(pins.access, ask=None),
                dict(pins.typed),
                metrics if is_first else None,
                metrics is not None,
            )

        authority.close()
        program = WorkerProgram(
            # Modules are those of this program, never those of the folder that it runs in.
            [sys.executable, "-P", "-c", _MAIN],
            [item.descriptor for item in locks],
            orders,
        )
        Supervisor(program, settings.workers).run(say_serving, say_ending)
