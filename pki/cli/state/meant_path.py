"""Says what a user probably means by a path at which there is no credential, or no CA."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from pki.cli.options import DEFAULT_DIR, ca_directory, dir_option
from pki.cli.output import quote_path
from pki.errors import PkiError, quote_untrusted
from pki.files import find_layout

_VARIABLE = "HANDFAST_DIR"
_CA_VARIABLE = "HANDFAST_CA"
_SERVED_ELSEWHERE = (
    ". If it is served elsewhere, ask it there, where a command takes that: --ca HOST:PORT "
    "--credential DIR"
)
_MOST_SHOWN = 3
_MOST_FOLDERS = 500  # a suggestion is not worth reading a whole disk


@contextmanager
def path_suggested(
    target: Path, state: Path | None = None, *, renews: bool = False
) -> Iterator[None]:
    """Let an error about a credential directory suggest the path that its user may have meant.

    Args:
        target: the path that the user wrote.
        state: the state folder; None takes the one that the command would take without ``--dir``.
        renews: whether the command renews, so that it can do so for a whole folder.
    """
    try:
        yield
    except PkiError as error:
        state = state or Path(os.environ.get(_VARIABLE) or DEFAULT_DIR)
        with suppress(OSError, PkiError):
            error.remedy = _suggestion(target, state, renews=renews) or error.remedy
        raise


def _suggestion(target: Path, state: Path, *, renews: bool) -> str:
    """Return what to do instead; empty if nothing is suggested."""
    if not os.path.lexists(target):
        below = state / target
        is_suggested = not target.is_absolute() and below != target and below.exists()
        return f"Did you mean {quote_path(below)}?" if is_suggested else ""
    if not target.is_dir() or find_layout(target) is not None:
        return ""
    credentials = [path for path in _folders_below(target) if find_layout(path) is not None]
    if not credentials:
        return ""
    number = f"{len(credentials)} credential{'s' if len(credentials) > 1 else ''}"
    if renews:
        command = f"handfast renew --all {quote_path(target)}{dir_option(state)}"
        return f"This folder holds {number}: {command}"
    return f"This folder holds {number}: name one of them, e.g. {quote_path(credentials[0])}"


def _folders_below(folder: Path) -> list[Path]:
    """Return the folders below a folder by name, without those of a CA; of very many, the first."""
    found: list[Path] = []
    for here, names, _ in os.walk(folder):
        names[:] = sorted(name for name in names if not Path(here, name, "ledger.db").exists())
        found += (Path(here, name) for name in names)
        if len(found) >= _MOST_FOLDERS:
            break
    return found[:_MOST_FOLDERS]


def no_ca_remedy(state: Path) -> str:
    """Return what to do if there is no CA in a state folder.

    Args:
        state: the state folder.
    """
    remedy = _folder_remedy(state)
    if os.environ.get(_CA_VARIABLE):
        # Whoever has set it expects that it names the CA for every command.
        return f"This command works on the CA's folder, and not with {_CA_VARIABLE}. {remedy}"
    return remedy


def _folder_remedy(state: Path) -> str:
    named_by_variable = os.environ.get(_VARIABLE) == str(state)
    write = f"{_VARIABLE}=" if named_by_variable else "--dir "
    if _is_of_user(state / "ledger.db"):
        above = state.parent if state.name else state / ".."
        return (
            f"{quote_untrusted(state)} is the folder of a CA itself: name the folder above it, "
            f"{write}{quote_path(above)}"
        )
    if state.exists() and not state.is_dir():
        return f"{quote_untrusted(state)} is a file: name the state folder with {write.strip()}"
    nearby = _states_nearby(state)
    if nearby:
        names = " or ".join(f"{write}{quote_path(path)}" for path in nearby[:_MOST_SHOWN])
        return f"There is one elsewhere: name its folder, {names}"
    return (
        f"Name the folder that holds it with --dir or {_VARIABLE}, or make one: "
        "handfast ca init --trust-domain NAME"
        + ("" if os.environ.get(_CA_VARIABLE) else _SERVED_ELSEWHERE)
    )


def _states_nearby(state: Path) -> list[Path]:
    """Return the state folders with a CA near the one that was named, and near here."""
    candidates = [Path(), Path(".."), Path("..") / DEFAULT_DIR]
    for folder in (Path(), state, state.parent):
        with suppress(OSError):
            candidates += sorted(islice(folder.iterdir(), _MOST_FOLDERS))
    found: dict[str, Path] = {}
    for candidate in candidates:
        if candidate != state and _is_of_user(ca_directory(candidate) / "ledger.db"):
            found.setdefault(os.path.realpath(candidate), candidate)
    return list(found.values())


def _is_of_user(path: Path) -> bool:
    """Return whether a file is there and belongs to this user: no other user's CA is suggested."""
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return False
