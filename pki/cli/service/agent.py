"""``handfast agent``: keep directories of credentials fresh, for programs in any language."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from pki.ca_client import CaIdentity
from pki.cli.options import parse_path
from pki.cli.output import print_error, quote_path
from pki.cli.service.serve import notify_systemd
from pki.errors import PkiError, StateError, printable

log = logging.getLogger("handfast.agent")

_RETRY_SECONDS = 5.0


def agent(
    directories: Annotated[
        list[Path],
        typer.Argument(parser=parse_path, metavar="DIR...", help="Directories that were enrolled."),
    ],
) -> None:
    """Keep enrolled directories fresh until SIGTERM: renewed, recovered, with the newest lists."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    absolute = list(dict.fromkeys(item.absolute() for item in directories))
    with ExitStack() as stack:
        waiting = absolute
        started = 0
        is_first = True
        while not ending.is_set():
            waiting = [item for item in waiting if not _start(item, stack, is_first=is_first)]
            if is_first:
                started = len(absolute) - len(waiting)
                if not started and all(not (item / "chain.pem").exists() for item in absolute):
                    raise StateError(
                        "none of these directories is enrolled",
                        remedy="Enroll them: handfast enroll TOKEN --out DIR",
                    )
                sys.stdout.write(f"Keeping {started} of {len(absolute)} directories fresh\n")
                sys.stdout.flush()
                notify_systemd("READY=1")
                is_first = False
            ending.wait(_RETRY_SECONDS)
        notify_systemd("STOPPING=1")


def _start(directory: Path, stack: ExitStack, *, is_first: bool) -> bool:
    """Begin to keep a directory fresh; return False if that has to be tried again."""
    try:
        stack.enter_context(CaIdentity(directory))
    except PkiError as error:
        if is_first:
            print_error(f"{quote_path(directory)}: {printable(error.message)}", error.remedy)
        return False
    log.info("%s is kept fresh", quote_path(directory))
    return True
