"""``handfast ca serve``: serve the CA over gRPC until it is told to end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from pki.authority import Authority
from pki.authority.pruning.prune import DEFAULT_KEEP, parse_keep
from pki.background import flush
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
from pki.cli.service.metrics_page import MetricsOption, metrics_page, parse_metrics_address
from pki.cli.state.authority import open_authority
from pki.cli.state.key_access import PassphraseFileOption
from pki.cli.state.ledger_place import LedgerOption
from pki.clock import system_clock
from pki.daemon import CaService, CaSettings
from pki.errors import PkiError, StateError, join_first, printable
from pki.files import BusyFolderError, hold_lock

_GRACE_SECONDS = 10.0
_COLLECTED_AFTER = 10_000
_MOST_SHOWN = 5
# A thread that commits gives Python's lock back some fifty times. While the event loop is busy, it
# would wait for 5 ms each time: renewals are to go on beside thousands of calls.
_SWITCH_SECONDS = 0.0005
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
    ledger: LedgerOption = None,
    directory: DirOption = DEFAULT_DIR,
) -> None:
    """Serve the CA to workloads until SIGTERM; SIGHUP makes it look again at once."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # A line for each table of the ledger tells nobody anything.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Before anything is issued: a start that fails leaves no certificate in the ledger.
    addresses = {"--listen": listen, "--enroll-listen": enroll_listen}
    if metrics is not None:
        parse_metrics_address(metrics)
        addresses["--metrics"] = metrics
    check_listening(addresses)
    with open_authority(directory, passphrase_file=passphrase_file, ledger=ledger) as authority:
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
        )
        places = {ca_directory(directory), authority.context.disk}
        with _served_once(*sorted(places)):
            service = CaService(authority, settings, system_clock)
            asyncio.run(_serve(service, authority, metrics))


@contextmanager
def _served_once(*folders: Path) -> Iterator[None]:
    """Keep another process from serving the same CA: tokens would name the ports of either.

    Args:
        folders: that of the CA, and that of its ledger, which another folder may name too.
    """
    with ExitStack() as stack:
        for folder in folders:
            try:
                stack.callback(hold_lock(folder, name=_SERVED))
            except BusyFolderError:
                raise StateError(
                    f"the CA in {quote_path(folder)} is served by another process already",
                    remedy="Stop that one first; handfast token create and others work beside it",
                ) from None
        yield


async def _serve(service: CaService, authority: Authority, metrics: str | None) -> None:
    sys.setswitchinterval(_SWITCH_SECONDS)
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
    service.must_end = _end_now
    await service.start()
    _leave_out_of_collections()
    if service.adopted:
        _say(adopted_line([str(item) for item in service.adopted]))
    addresses = service.parts.addresses
    _say(
        f"Serving the CA of {authority.trust_domain}: workloads at {addresses.authority}, "
        f"enrollment at {addresses.enrollment}"
    )
    collectors = service.collectors() if metrics else ()
    with metrics_page(metrics, collectors, lambda: nullcontext(service.workload)) as page:
        if page:
            _say(f"Metrics at {page}")
        notify_systemd("READY=1")
        await ending.wait()
    notify_systemd("STOPPING=1")
    _say("Ending: no new calls; running ones have ten seconds")
    await service.stop(_GRACE_SECONDS)


def _end_now(error: PkiError) -> None:
    """End without closing anything: that would read the ledger's file, and write it back."""
    flush()
    print_error(error.message, error.remedy)
    os._exit(1)


def _leave_out_of_collections() -> None:
    """Let the garbage collector look no more at what was made until now, which stays.

    Each request makes a few hundred objects. With the defaults, a quarter of the processor time of
    a busy CA went into looking at all modules again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER, 20, 20)


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
