"""``handfast watch``: a live dashboard of credentials, or of a CA's ledger."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text
from watchfiles import watch as watch_files

from pki.cli.ca_directory import open_authority
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import SCHEMA, JsonOption, console_for
from pki.cli.watch.board import Board, Column, draw
from pki.cli.watch.rows import (
    CredentialRow,
    Event,
    Found,
    History,
    LedgerView,
    State,
    credential_row,
    ledger_view,
)
from pki.clock import system_clock
from pki.errors import InputError, PkiError, StateError, quote_untrusted
from pki.files import KeyMode, detect_layout, load_credential
from pki.inspection.report_item import plain, relative_briefly

_COLOURS = {State.GOOD: "green", State.DUE: "cyan", State.LATE: "yellow", State.BAD: "bold red"}
_BAR = 10
_MOST_FOLDERS = 500
_MOST_DEPTH = 6
_NO_MARGIN = 10_000

Frame = Callable[[], tuple[Board, dict[str, object], bool]]


def watch(
    place: Annotated[
        Path | None,
        typer.Argument(help="A credential directory, or a folder of them; the state folder."),
    ] = None,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Watch the CA's ledger in the state folder instead.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="With --json: a line at each change.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds between two looks at the clock.")
    ] = 1.0,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show what expires when, the last renewals and failures, live; Ctrl-C ends it."""
    if ledger and place is not None:
        raise typer.BadParameter("name either a folder or --ledger")
    folder = directory if place is None else place
    frame = _ledger_frame(directory) if ledger else _credentials_frame(folder)
    if not folder.is_dir():
        raise StateError(f"{quote_untrusted(folder)} is not there, or is no folder")
    try:
        if as_json:
            _tell(frame, folder, interval, follow=follow and not once)
        elif once or not sys.stdout.isatty():
            _show_once(frame()[0])
        else:
            _live(frame, folder, interval)
    except KeyboardInterrupt:
        return


def _show_once(board: Board) -> None:
    console = console_for(sys.stdout)
    width: int | None = console.width
    if not console.is_terminal:
        # A file or a program has no margin: it gets every column whole.
        console.width, width = _NO_MARGIN, None
    console.print(draw(board, width, None))


def _live(frame: Frame, folder: Path, interval: float) -> None:
    console = console_for(sys.stdout)
    with Live(console=console, auto_refresh=False, screen=False) as live:

        def show() -> None:
            # The size is asked for each time: a window may be drawn larger or smaller.
            live.update(draw(frame()[0], console.width, console.height), refresh=True)

        show()
        for _ in _looks(folder, interval):
            show()


def _tell(frame: Frame, folder: Path, interval: float, *, follow: bool) -> None:
    _line(frame()[1])
    if not follow:
        return
    for _ in _looks(folder, interval):
        _, data, changed = frame()
        if changed:
            _line(data)


def _line(data: dict[str, object]) -> None:
    document = {"schema": SCHEMA, "command": "watch", **data}
    sys.stdout.write(json.dumps(document, default=_plain) + "\n")
    sys.stdout.flush()


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _looks(folder: Path, interval: float) -> Iterator[None]:
    """Come back after each change of files, and after each interval."""
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
        # The folder is gone: it may come back.
        time.sleep(min(interval, 1.0))
        yield


def _credentials_frame(folder: Path) -> Frame:
    history = History()

    def frame() -> tuple[Board, dict[str, object], bool]:
        now = system_clock()
        rows = [credential_row(item, now) for item in find_credentials(folder)]
        changed = history.take(rows, now)
        data: dict[str, object] = {
            "folder": folder,
            "credentials": [_row_json(row) for row in rows],
            "events": [
                {"at": item.at, "name": item.name, "words": item.words} for item in history.events
            ],
        }
        return credentials_board(folder, rows, history.events, now), data, changed

    return frame


def find_credentials(folder: Path) -> list[Found]:
    """Read every credential directory at or below a folder; what can't be read is told as such."""
    if not folder.is_dir():
        return [Found(plain(folder), None, "the folder is gone")]
    found: list[Found] = []
    for place in _folders(folder):
        name = (
            plain(place.relative_to(folder), letters=True)
            if place != folder
            else plain(folder.name or ".", letters=True)
        )
        try:
            layout = detect_layout(place)
        except PkiError as error:
            if "several layouts" in error.message:
                found.append(Found(name, None, error.message))
            continue
        changed = _changed_at(place / (layout.chain or layout.key))
        try:
            # It is looked at, not used: a mode that is too open is told, and hides nothing.
            loaded = load_credential(place, layout=layout, key_mode=KeyMode.WARN)
        except PkiError as error:
            found.append(Found(name, None, error.message, changed))
        else:
            found.append(Found(name, loaded.credential, "", changed))
    return found


def _folders(folder: Path) -> list[Path]:
    found, level = [folder], [folder]
    for _ in range(_MOST_DEPTH):
        following: list[Path] = []
        for item in level:
            try:
                following += sorted(
                    child
                    for child in item.iterdir()
                    if child.is_dir() and not child.name.startswith(".")
                )
            except OSError:
                continue
        found, level = found + following, following
        if len(found) > _MOST_FOLDERS:
            raise InputError(
                f"{quote_untrusted(folder)} holds more than {_MOST_FOLDERS} folders",
                remedy="Watch a part of it",
            )
    return found


def _changed_at(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None


_COLUMNS = (
    Column("credential", 0, most=32),
    Column("workload", 3),
    Column("serial", 6),
    Column("life left", 2),
    # What is wrong stands here too, in words that may be long.
    Column("expires", 0, 10, most=22),
    Column("renewal", 1, 10),
    Column("last change", 5),
    Column("lists", 4),
)


def credentials_board(
    folder: Path, rows: list[CredentialRow], events: list[Event], now: datetime
) -> Board:
    """Say what is shown of credentials."""
    # What is bad first, then what ends first: where there is little room, the last go.
    rows = sorted(rows, key=lambda item: (item.state is not State.BAD, str(item.until)))
    below = [Text(f"{item.at:%H:%M:%S}  {item.name}: {item.words}") for item in reversed(events)]
    return Board(
        f"{folder}  {now:%Y-%m-%d %H:%M:%S} UTC",
        _COLUMNS,
        [_cells(row, now) for row in rows],
        below if rows else [Text("no credential here"), *below],
    )


def _cells(row: CredentialRow, now: datetime) -> tuple[Text, ...]:
    colour = _COLOURS[row.state]
    known = row.until is not None and row.renewal_from is not None
    return (
        Text(row.name),
        Text(row.workload),
        Text(f"{row.serial[:8]}.." if known else "-"),
        Text(_bar(row.left) if known else "-", style=colour),
        Text(_end(row, row.until, now) if row.until is not None else row.problem, style=colour),
        Text(
            _renewal(row, row.renewal_from, now) if row.renewal_from is not None else "-",
            style=colour,
        ),
        Text(relative_briefly(row.renewed_at, now) if row.renewed_at else "-"),
        Text(row.crls),
    )


def _end(row: CredentialRow, end: datetime, now: datetime) -> str:
    return row.problem if row.state is State.BAD else relative_briefly(end, now)


def _renewal(row: CredentialRow, due_from: datetime, now: datetime) -> str:
    if row.state is State.GOOD:
        return relative_briefly(due_from, now)
    return {State.DUE: "due", State.LATE: "late", State.BAD: "-"}[row.state]


def _bar(left: float) -> str:
    full = round(left * _BAR)
    return "█" * full + "░" * (_BAR - full) + f" {round(left * 100):3d}%"


def _row_json(row: CredentialRow) -> dict[str, object]:
    return {
        "name": row.name,
        "workload": row.workload,
        "serial": row.serial,
        "state": row.state.value,
        "not_after": row.until,
        "life_left": round(row.left, 4),
        "renewal_from": row.renewal_from,
        "changed_at": row.renewed_at,
        "lists": row.crls,
        "problem": row.problem,
    }


def _ledger_frame(state: Path) -> Frame:
    before: list[object] = []

    def frame() -> tuple[Board, dict[str, object], bool]:
        with open_authority(state, read_only=True) as authority:
            now = authority.now()
            view = ledger_view(authority.issuers(), authority.certificates(with_ended=True), now)
        mark = (len(view.in_force), view.issued[:1], view.revoked[:1], len(view.issuers))
        changed = before != [mark]
        before[:] = [mark]
        return ledger_board(view, now), _ledger_json(view), changed

    return frame


def ledger_board(view: LedgerView, now: datetime) -> Board:
    """Say what is shown of a ledger."""
    title = f"{len(view.in_force)} certificates in force, {view.soon} end within a day"
    below = [
        Text(f"revoked: {plain(item.spiffe_id)} {item.serial}", style="yellow")
        for item in view.revoked
    ]
    below += [
        Text(f"last issued: {plain(item.spiffe_id)} {item.serial}") for item in view.issued[:3]
    ]
    issuers = [
        Text(
            f"{item.kind.value} {item.key_id}: {item.status.value}, ends "
            f"{relative_briefly(item.certificate.not_valid_after_utc, now)}"
        )
        for item in view.issuers
    ]
    return Board(
        f"{title}  {now:%Y-%m-%d %H:%M:%S} UTC",
        (Column("workload", 0), Column("serial", 1), Column("expires", 0, 10)),
        [
            (
                Text(plain(item.spiffe_id)),
                Text(item.serial),
                Text(relative_briefly(item.not_after, now)),
            )
            for item in view.in_force
        ],
        [*issuers, *below],
    )


def _ledger_json(view: LedgerView) -> dict[str, object]:
    return {
        "in_force": [
            {"spiffe_id": item.spiffe_id, "serial": item.serial, "not_after": item.not_after}
            for item in view.in_force
        ],
        "soon": view.soon,
        "issuers": [
            {
                "kind": item.kind.value,
                "key_id": item.key_id,
                "status": item.status.value,
                "not_after": item.certificate.not_valid_after_utc,
            }
            for item in view.issuers
        ],
        "revoked": [
            {"spiffe_id": item.spiffe_id, "serial": item.serial, "revoked_at": item.revoked_at}
            for item in view.revoked
        ],
    }
