"""``handfast agent``: keep directories of credentials fresh, for programs in any language."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pki.ca_client import CaIdentity
from pki.cli.options import parse_path
from pki.cli.output import print_error, quote_path
from pki.cli.service.metrics_page import MetricsOption, metrics_page
from pki.cli.service.serving import notify_systemd
from pki.errors import PkiError, StateError, counted, printable
from pki.workload import Workload

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

log = logging.getLogger("handfast.agent")

_RETRY_SECONDS = 5.0


def agent(
    directories: Annotated[
        list[Path],
        typer.Argument(parser=parse_path, metavar="DIR...", help="Directories that were enrolled."),
    ],
    metrics: MetricsOption = None,
    metrics_policy: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path,
            metavar="FILE",
            help="Who may read --metrics on another address than a loopback one. The page has the "
            "certificate of the first directory.",
        ),
    ] = None,
) -> None:
    """Keep enrolled directories fresh until SIGTERM: renewed, recovered, with the newest lists."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    absolute = list(dict.fromkeys(item.absolute() for item in directories))
    kept: list[CaIdentity] = []
    # Loaded here: an agent without metrics does not pay for the library.
    collectors: list[Collector] = []
    if metrics is not None:
        from pki.ca_client.identity_metrics import IdentityCollector  # noqa: PLC0415

        collectors.append(IdentityCollector(lambda: kept, lambda: len(absolute) - len(kept)))
    with ExitStack() as stack:
        page = stack.enter_context(
            metrics_page(metrics, collectors, lambda: _reader(absolute[0], metrics_policy))
        )
        waiting = absolute
        is_first = True
        while not ending.is_set():
            started = [(item, _start(item, is_first=is_first)) for item in waiting]
            waiting = [item for item, identity in started if identity is None]
            kept += [stack.enter_context(identity) for _, identity in started if identity]
            if is_first:
                if not kept and not any(os.path.lexists(item / "chain.pem") for item in absolute):
                    raise StateError(
                        "none of these directories is enrolled",
                        remedy="Enroll them: handfast enroll TOKEN --out DIR",
                    )
                if page:
                    sys.stdout.write(f"Metrics at {page}\n")
                sys.stdout.write(
                    f"Keeping {len(kept)} of "
                    f"{counted(len(absolute), 'directory', 'directories')} fresh\n"
                )
                sys.stdout.flush()
                notify_systemd("READY=1")
                is_first = False
            ending.wait(_RETRY_SECONDS)
        notify_systemd("STOPPING=1")
        sys.stdout.write("Ending: nothing is kept fresh any more\n")
        sys.stdout.flush()


def _reader(directory: Path, policy: Path | None) -> Workload:
    """Return the workload that shows the metrics over the network."""
    if policy is None:
        raise StateError(
            "metrics on an address that other machines reach need a policy",
            remedy="Name it with --metrics-policy FILE: handfast docs metrics",
        )
    return Workload.from_directory(directory, policy=policy)


def _start(directory: Path, *, is_first: bool) -> CaIdentity | None:
    """Begin to keep a directory fresh; return None if that has to be tried again."""
    try:
        identity = CaIdentity(directory)
    except PkiError as error:
        if is_first:
            print_error(f"{quote_path(directory)}: {printable(error.message)}", error.remedy)
        return None
    log.info("%s is kept fresh", quote_path(directory))
    return identity
