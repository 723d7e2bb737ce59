"""The dashboard of the credential directories in a folder."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.text import Text

from pki.cli.watch.board import Board, Column, Frame
from pki.cli.watch.credential_row import CredentialRow, ReadCredential, State, credential_row
from pki.cli.watch.history import Event, History
from pki.clock import system_clock
from pki.errors import InputError, PkiError, quote_untrusted
from pki.files import KeyMode, detect_layout, load_credential
from pki.inspection.formatting import format_relative_briefly, quote_if_unsafe

_COLOURS = {
    State.GOOD: "green",
    State.DUE: "cyan",
    State.UNSAFE: "yellow",
    State.LATE: "yellow",
    State.BAD: "bold red",
}
_BAR = 10
_MOST_FOLDERS = 500
_MOST_DEPTH = 6


class CredentialsDashboard:
    """Watches the credential directories at or below a folder.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history = History()

    def next_frame(self) -> Frame:
        """Read all credentials again."""
        now = system_clock()
        rows = [credential_row(item, now) for item in find_credentials(self._folder)]
        changed = self._history.update(rows, now)
        events = self._history.events
        data: dict[str, object] = {
            "folder": self._folder,
            "credentials": [_row_json(row) for row in rows],
            "events": [
                {"at": item.at, "name": item.name, "message": item.message} for item in events
            ],
        }
        return Frame(credentials_board(self._folder, rows, events, now), data, changed)


def find_credentials(folder: Path) -> list[ReadCredential]:
    """Read every credential directory at or below a folder; a problem is part of the result."""
    if not folder.is_dir():
        return [ReadCredential(quote_if_unsafe(folder), None, "the folder is gone")]
    credentials: list[ReadCredential] = []
    for place in _folders(folder):
        name = (
            quote_if_unsafe(place.relative_to(folder), allow_letters=True)
            if place != folder
            else quote_if_unsafe(folder.name or ".", allow_letters=True)
        )
        try:
            layout = detect_layout(place)
        except PkiError as error:
            if "several layouts" in error.message:
                credentials.append(ReadCredential(name, None, error.message))
            continue
        changed = _changed_at(place / (layout.chain or layout.key))
        try:
            # The credential is shown, not used: a key that others may read is shown with a warning.
            loaded = load_credential(place, layout=layout, key_mode=KeyMode.WARN)
        except PkiError as error:
            credentials.append(ReadCredential(name, None, error.message, changed))
        else:
            credentials.append(
                ReadCredential(name, loaded.credential, "", changed, loaded.warnings)
            )
    return credentials


def _folders(folder: Path) -> list[Path]:
    folders, level = [folder], [folder]
    for _ in range(_MOST_DEPTH):
        children: list[Path] = []
        for item in level:
            try:
                children += sorted(
                    child
                    for child in item.iterdir()
                    if child.is_dir() and not child.name.startswith(".")
                )
            except OSError:
                continue
        folders, level = folders + children, children
        if len(folders) > _MOST_FOLDERS:
            raise InputError(
                f"{quote_untrusted(folder)} holds more than {_MOST_FOLDERS} folders",
                remedy="Watch a part of it",
            )
    return folders


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
    # A problem is shown here too, and its text may be long.
    Column("expires", 0, 10, most=22),
    Column("renewal", 1, 10),
    Column("last change", 5),
    Column("CRLs", 4),
)


def credentials_board(
    folder: Path, rows: list[CredentialRow], events: list[Event], now: datetime
) -> Board:
    """Return the dashboard of some credentials."""
    # The bad ones first, then by their end: where there is little room, the last are left out.
    rows = sorted(
        rows, key=lambda item: (item.state not in {State.BAD, State.UNSAFE}, str(item.not_after))
    )
    below = [Text(f"{item.at:%H:%M:%S}  {item.name}: {item.message}") for item in reversed(events)]
    return Board(
        f"{folder}  {now:%Y-%m-%d %H:%M:%S} UTC",
        _COLUMNS,
        [_cells(row, now) for row in rows],
        below if rows else [Text("no credential here"), *below],
    )


def _cells(row: CredentialRow, now: datetime) -> tuple[Text, ...]:
    colour = _COLOURS[row.state]
    is_known = row.not_after is not None and row.renewal_from is not None
    return (
        Text(row.name),
        Text(row.workload),
        Text(f"{row.serial[:8]}.." if is_known else "-"),
        Text(_bar(row.life_left) if is_known else "-", style=colour),
        Text(
            _expiry(row, row.not_after, now) if row.not_after is not None else row.problem,
            style=colour,
        ),
        Text(
            _renewal(row, row.renewal_from, now) if row.renewal_from is not None else "-",
            style=colour,
        ),
        Text(format_relative_briefly(row.changed_at, now) if row.changed_at else "-"),
        Text(row.crls),
    )


def _expiry(row: CredentialRow, end: datetime, now: datetime) -> str:
    return (
        row.problem if row.state in {State.BAD, State.UNSAFE} else format_relative_briefly(end, now)
    )


def _renewal(row: CredentialRow, due_from: datetime, now: datetime) -> str:
    if row.state in {State.GOOD, State.UNSAFE}:
        return format_relative_briefly(due_from, now)
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
        "not_after": row.not_after,
        "life_left": round(row.life_left, 4),
        "renewal_from": row.renewal_from,
        "changed_at": row.changed_at,
        "crls": row.crls,
        "problem": row.problem,
    }
