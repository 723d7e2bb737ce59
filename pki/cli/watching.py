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
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from watchfiles import watch as watch_files

from pki.cli.output import SCHEMA, JsonOption, console_for
from pki.cli.state import DEFAULT_DIR, DirOption, open_authority
from pki.cli.watch_rows import (
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
from pki.errors import InputError, PkiError, StateError, shown
from pki.files import KeyMode, detect_layout, load_credential
from pki.inspection.thing import plain, relative_briefly

_COLOURS = {State.GOOD: "green", State.DUE: "cyan", State.LATE: "yellow", State.BAD: "bold red"}
_BAR = 10
_MOST_FOLDERS = 500
_MOST_DEPTH = 6
_MOST_ROWS = 30

Frame = Callable[[], tuple[RenderableType, dict[str, object], bool]]


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
        raise StateError(f"{shown(folder)} is not there, or is no folder")
    try:
        if as_json:
            _tell(frame, folder, interval, follow=follow and not once)
        elif once or not sys.stdout.isatty():
            console_for(sys.stdout).print(frame()[0])
        else:
            _live(frame, folder, interval)
    except KeyboardInterrupt:
        return


def _live(frame: Frame, folder: Path, interval: float) -> None:
    console = console_for(sys.stdout)
    with Live(frame()[0], console=console, auto_refresh=False, screen=False) as live:
        for _ in _looks(folder, interval):
            live.update(frame()[0], refresh=True)


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

    def frame() -> tuple[RenderableType, dict[str, object], bool]:
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
        return _credentials(folder, rows, history.events, now), data, changed

    return frame


def find_credentials(folder: Path) -> list[Found]:
    """Read every credential directory at or below a folder; what can't be read is told as such."""
    if not folder.is_dir():
        return [Found(plain(folder), None, "the folder is gone")]
    found: list[Found] = []
    for place in _folders(folder):
        name = plain(place.relative_to(folder)) if place != folder else plain(folder.name or ".")
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
                f"{shown(folder)} holds more than {_MOST_FOLDERS} folders",
                remedy="Watch a part of it",
            )
    return found


def _changed_at(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None


def _credentials(
    folder: Path, rows: list[CredentialRow], events: list[Event], now: datetime
) -> RenderableType:
    table = Table(title=Text(f"{folder}  {now:%Y-%m-%d %H:%M:%S} UTC"), title_justify="left")
    for heading in (
        "credential",
        "workload",
        "serial",
        "life left",
        "expires",
        "renewal",
        "last change",
        "lists",
    ):
        table.add_column(heading, overflow="fold")
    for row in sorted(rows, key=lambda item: (item.until is not None, str(item.until)))[
        :_MOST_ROWS
    ]:
        colour = _COLOURS[row.state]
        if row.until is None or row.renewal_from is None:
            table.add_row(Text(row.name), Text(row.problem, style=colour))
            continue
        table.add_row(
            Text(row.name),
            Text(row.workload),
            f"{row.serial[:8]}..",
            Text(_bar(row.left), style=colour),
            Text(_end(row, row.until, now), style=colour),
            Text(_renewal(row, row.renewal_from, now), style=colour),
            relative_briefly(row.renewed_at, now) if row.renewed_at else "-",
            Text(row.lists),
        )
    parts: list[RenderableType] = [table]
    if len(rows) > _MOST_ROWS:
        parts.append(Text(f"and {len(rows) - _MOST_ROWS} more"))
    if not rows:
        parts.append(Text("no credential here"))
    for event in events:
        parts.append(Text(f"{event.at:%H:%M:%S}  {event.name}: {event.words}"))
    return Group(*parts)


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
        "lists": row.lists,
        "problem": row.problem,
    }


def _ledger_frame(state: Path) -> Frame:
    before: list[object] = []

    def frame() -> tuple[RenderableType, dict[str, object], bool]:
        with open_authority(state) as authority:
            now = authority.now()
            view = ledger_view(authority.issuers(), authority.certificates(with_ended=True), now)
        mark = (len(view.in_force), view.issued[:1], view.revoked[:1], len(view.issuers))
        changed = before != [mark]
        before[:] = [mark]
        return _ledger(view, now), _ledger_json(view), changed

    return frame


def _ledger(view: LedgerView, now: datetime) -> RenderableType:
    title = f"{len(view.in_force)} certificates in force, {view.soon} end within a day"
    table = Table(title=Text(f"{title}  {now:%Y-%m-%d %H:%M:%S} UTC"), title_justify="left")
    for heading in ("workload", "serial", "expires"):
        table.add_column(heading, overflow="fold")
    for item in view.in_force[:_MOST_ROWS]:
        table.add_row(
            Text(plain(item.spiffe_id)), item.serial, relative_briefly(item.not_after, now)
        )
    parts: list[RenderableType] = [table]
    if len(view.in_force) > _MOST_ROWS:
        parts.append(Text(f"and {len(view.in_force) - _MOST_ROWS} more"))
    for issuer in view.issuers:
        end = issuer.certificate.not_valid_after_utc
        parts.append(
            Text(
                f"{issuer.kind.value} {issuer.key_id}: {issuer.status.value}, ends "
                f"{relative_briefly(end, now)}"
            )
        )
    for item in view.revoked:
        parts.append(Text(f"revoked: {plain(item.spiffe_id)} {item.serial}", style="yellow"))
    for item in view.issued[:3]:
        parts.append(Text(f"last issued: {plain(item.spiffe_id)} {item.serial}"))
    return Group(*parts)


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
