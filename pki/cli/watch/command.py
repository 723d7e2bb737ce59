"""``handfast watch``: a live dashboard of credentials, or of a CA's ledger."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from watchfiles import watch as watch_files

from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, console_for, json_line
from pki.cli.state.meant_path import path_suggested
from pki.cli.watch.board import Board, Frame, draw
from pki.cli.watch.credentials import CredentialsDashboard
from pki.errors import StateError, quote_untrusted

if TYPE_CHECKING:
    from pki.cli.watch.ledger import LedgerDashboard

_UNLIMITED_WIDTH = 10_000

NextFrame = Callable[[], Frame]


def watch(
    place: Annotated[
        Path | None,
        typer.Argument(
            help="A credential directory, or a folder of them; by default the state folder."
        ),
    ] = None,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Watch the CA's ledger in the state folder instead.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="With --json: a line at each change.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds between two updates.")
    ] = 1.0,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show live what expires when, and the last renewals and failures; Ctrl-C ends it."""
    if ledger and place is not None:
        raise typer.BadParameter("name either a folder or --ledger")
    folder = directory if place is None else place
    dashboard = _ledger_dashboard(directory) if ledger else CredentialsDashboard(folder)
    if not folder.is_dir() and not ledger:
        with path_suggested(folder, directory):
            raise StateError(
                f"{quote_untrusted(folder)} is not there, or is no folder",
                remedy="Name a credential directory, or a folder of them",
            )
    try:
        if as_json:
            _print_json(dashboard.next_frame, folder, interval, follow=follow and not once)
        elif once or not sys.stdout.isatty():
            _print_once(dashboard.next_frame().board)
        else:
            _show_live(dashboard.next_frame, folder, interval)
    except KeyboardInterrupt:
        return


def _ledger_dashboard(state: Path) -> LedgerDashboard:
    from pki.cli.watch.ledger import LedgerDashboard  # noqa: PLC0415 - loads the ledger's database

    return LedgerDashboard(state)


def _print_once(board: Board) -> None:
    console = console_for(sys.stdout)
    width: int | None = console.width
    if not console.is_terminal:
        # A file or a program has no limit of width: it gets every column whole.
        console.width, width = _UNLIMITED_WIDTH, None
    console.print(draw(board, width, None))


def _show_live(next_frame: NextFrame, folder: Path, interval: float) -> None:
    console = console_for(sys.stdout)
    with Live(console=console, auto_refresh=False, screen=False) as live:

        def show() -> None:
            # The size is read each time, because the user may resize the window.
            live.update(draw(next_frame().board, console.width, console.height), refresh=True)

        show()
        for _ in _changes(folder, interval):
            show()


def _print_json(next_frame: NextFrame, folder: Path, interval: float, *, follow: bool) -> None:
    _print_line(next_frame())
    if not follow:
        return
    for _ in _changes(folder, interval):
        frame = next_frame()
        if frame.changed:
            _print_line(frame)


def _print_line(frame: Frame) -> None:
    sys.stdout.write(json_line("watch", frame.data))
    sys.stdout.flush()


def _changes(folder: Path, interval: float) -> Iterator[None]:
    """Yield after each change of files, and after each interval."""
    while True:
        try:
            for _ in watch_files(
                folder,
                rust_timeout=max(1, int(interval * 1000)),
                yield_on_timeout=True,
                raise_interrupt=True,
                debounce=100,
                watch_filter=None,
            ):
                yield
                if not folder.is_dir():
                    break
        except (FileNotFoundError, OSError):
            pass
        # The folder is gone, and may come back.
        time.sleep(min(interval, 1.0))
        yield
