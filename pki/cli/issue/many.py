"""``handfast issue`` for many workloads: the progress, and what is told of each."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from pki.authority import Authority
from pki.cli.exit_codes import FAILED, PARTLY
from pki.cli.issue.fleet import Fleet, FleetOrder
from pki.cli.issue.orders_file import PlacedOrder
from pki.cli.output import print_error, print_result, quote_path
from pki.cli.state.issuing import report_issued
from pki.cli.state.trust_distribution import error_lines, import_crls
from pki.errors import StateError, counted
from pki.files import Layout


def issue_many(
    authority: Authority,
    orders: Sequence[PlacedOrder],
    layout: Layout,
    state: Path,
    *,
    as_json: bool,
) -> None:
    """Issue to many workloads, and tell how each ended.

    Args:
        authority: the CA.
        orders: what to issue.
        layout: of the directories.
        state: the state folder.
        as_json: whether to print one JSON object.

    Raises:
        InputError: if a name can't be one, or two would be written to one directory; then nothing
            was issued.
        typer.Exit: 5 if one or more are not in place, 1 if none is.
    """
    fleet = Fleet(authority, state, layout)
    fleet.place(orders)
    remedy = "Repair this, and run it again for these"
    try:
        with _ends_as_interrupts(), _progress(len(fleet.orders)) as advance:
            import_crls(authority, state)
            fleet.issue(advance)
    except KeyboardInterrupt:
        remedy = "Run it again for these"
        # What is in place is told all the same.
        for item in fleet.orders:
            if not item.is_in_place:
                item.error = item.error or StateError("interrupted before it was in place")
    done = [item for item in fleet.orders if item.is_in_place and item.error is None]
    failed = [item for item in fleet.orders if item.error is not None]
    print_result(
        "issue",
        {
            "issued": len(done),
            "directories": [_facts(item, layout, state) for item in done],
            "failed": [
                {
                    "name": item.placed.order.name,
                    "directory": item.folder,
                    # Recorded in the ledger, though it is not in place.
                    "serial": f"{item.issued.leaf.serial_number:x}" if item.issued else None,
                    "error": str(item.error),
                }
                for item in failed
            ],
        },
        [
            *(
                f"{quote_path(item.folder)}: {item.issued.spiffe_id}, until "
                f"{item.issued.leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
                for item in done
                if item.issued is not None
            ),
            f"Issued {len(done)} of {counted(len(fleet.orders), 'certificate')}",
        ],
        as_json=as_json,
    )
    if failed:
        are = "is" if len(failed) == 1 else "are"
        told = error_lines([(item.folder, item.error) for item in failed if item.error])
        # Most often all of them fail for one reason.
        first = failed[0].error.remedy if failed[0].error else ""
        print_error(
            f"{len(failed)} of {counted(len(fleet.orders), 'certificate')} {are} not in place: "
            f"{told}",
            f"{first + '. ' if first else ''}Their directories are as they were. {remedy}",
        )
        raise typer.Exit(PARTLY if done else FAILED)


def _facts(item: FleetOrder, layout: Layout, state: Path) -> dict[str, object]:
    assert item.issued is not None
    return report_issued("issue", item.issued, item.folder, layout, state)[0]


@contextmanager
def _ends_as_interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the work as Ctrl-C does: no key is left over in a folder."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
        # nohup ignores hang-ups.
        if signal.getsignal(number) is signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal; yield what advances it."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import Progress  # noqa: PLC0415 - loaded for a terminal alone

    from pki.cli.console import PipeConsole  # noqa: PLC0415 - loaded for a terminal alone

    # On stderr: what is told of each goes to stdout, perhaps into a file.
    with Progress(console=PipeConsole(stderr=True), transient=True) as progress:
        task = progress.add_task("Issuing", total=total)
        yield lambda number: progress.update(task, advance=number)
