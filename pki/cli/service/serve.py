"""``handfast ca serve``: serve the CA over gRPC until it is told to end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from pki.authority.pruning.prune import DEFAULT_KEEP, parse_keep
from pki.cli.options import (
    DEFAULT_DIR,
    DirOption,
    as_option,
    ca_directory,
    parse_lifetime,
    parse_path,
)
from pki.cli.output import print_error, quote_path
from pki.cli.service.ca_policy import CA_POLICY, ensure_policy
from pki.cli.service.listening import check_listening
from pki.cli.service.metrics_page import MetricsOption, parse_metrics_address
from pki.cli.service.serving import end_now, run_service, say_ending, say_serving, use_log
from pki.cli.service.workers.supervised import check_workers, serve_with_workers
from pki.cli.state.authority import open_authority
from pki.cli.state.key_access import PassphraseFileOption, PinMemory, token_access
from pki.cli.state.ledger_place import LedgerOption
from pki.clock import system_clock
from pki.daemon import CaService, CaSettings
from pki.errors import StateError
from pki.files import BusyFolderError, HeldLock, hold_lock

_SERVED = ".handfast-served.lock"


def parse_prune_after(text: str) -> timedelta | None:
    """Parse after what time certificates are pruned; ``never`` is None.

    Raises:
        InputError: if it is no duration, or too short.
    """
    return None if text == "never" else parse_keep(text)


def serve(
    listen: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where workloads with a certificate call."),
    ] = "127.0.0.1:8443",
    enroll_listen: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where those without one enroll and recover."),
    ] = "127.0.0.1:8444",
    advertise: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="How workloads reach --listen, if not at that address."
        ),
    ] = "",
    enroll_advertise: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="How they reach --enroll-listen; tokens hold it."),
    ] = "",
    policy: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path,
            metavar="FILE",
            show_default="DIR/ca/policy.toml",
            help="Who is an admin, and who a registrar.",
        ),
    ] = None,
    oidc: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path,
            metavar="FILE",
            help="The OIDC issuers whose JWTs are proofs: handfast docs oidc.",
        ),
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    heartbeat: Annotated[
        timedelta,
        typer.Option(
            parser=parse_lifetime,
            metavar="TIME",
            show_default="5s",
            help="How often followers hear something; three times that is a loss.",
        ),
    ] = timedelta(seconds=5),
    prune_after: Annotated[
        timedelta | None,
        typer.Option(
            parser=as_option(parse_prune_after),
            metavar="TIME",
            show_default="30d",
            help="When a certificate that has ended leaves the ledger: 24h or more; never.",
        ),
    ] = DEFAULT_KEEP,
    metrics: MetricsOption = None,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="How many processes serve: as many as there are cores, where one is not enough.",
        ),
    ] = 1,
    ledger: LedgerOption = None,
    directory: DirOption = DEFAULT_DIR,
) -> None:
    """Serve the CA to workloads until SIGTERM; SIGHUP makes it look again at once."""
    use_log()
    check_workers(workers)
    # Before anything is issued: a start that fails leaves no certificate in the ledger.
    addresses = {"--listen": listen, "--enroll-listen": enroll_listen}
    if metrics is not None:
        parse_metrics_address(metrics)
        addresses["--metrics"] = metrics
    check_listening(addresses)
    pins = PinMemory(token_access())
    with open_authority(
        directory, passphrase_file=passphrase_file, ledger=ledger, tokens=pins.access
    ) as authority:
        file = policy or ca_directory(directory) / CA_POLICY
        if policy is None and ensure_policy(file, authority.trust_domain):
            print_error(
                f"note: nobody is an admin yet, by the new {quote_path(file)}",
                "Make one here: handfast ca admin NAME",
            )
        settings = CaSettings(
            file,
            listen,
            enroll_listen,
            advertise,
            enroll_advertise,
            heartbeat,
            oidc,
            prune_after=prune_after,
            workers=workers,
        )
        places = {ca_directory(directory), authority.context.disk}
        with _served_once(*sorted(places)) as locks:
            if workers > 1:
                serve_with_workers(authority, settings, ledger, pins, metrics, locks)
                return
            service = CaService(authority, settings, system_clock)
            asyncio.run(_serve(service, metrics))


@contextmanager
def _served_once(*folders: Path) -> Iterator[tuple[HeldLock, ...]]:
    """Keep another process from serving the same CA: tokens would name the ports of either.

    Args:
        folders: that of the CA, and that of its ledger, which another folder may name too.
    """
    with ExitStack() as stack:
        locks: list[HeldLock] = []
        for folder in folders:
            try:
                locks.append(hold_lock(folder, name=_SERVED))
                stack.callback(locks[-1])
            except BusyFolderError:
                raise StateError(
                    f"the CA in {quote_path(folder)} is served by another process already",
                    remedy="Stop that one first; handfast token create and others work beside it",
                ) from None
        yield tuple(locks)


async def _serve(service: CaService, metrics: str | None) -> None:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()

    def end() -> None:
        if ending.is_set():
            # A second signal: do not wait for running calls.
            os._exit(1)
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, service.look_again)
    service.must_end = end_now
    await run_service(service, metrics, ending, serving=say_serving, stopping=say_ending)
