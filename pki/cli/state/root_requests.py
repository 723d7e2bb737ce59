"""Writes requests to the roots, and tells how a request is answered."""

from __future__ import annotations

from pathlib import Path

from pki.authority.rotation.requests import RootRequest
from pki.authority.rotation.root import describe_request
from pki.cli.options import dir_option
from pki.cli.output import quote_path
from pki.files import write_durably
from pki.files.open_folder import PUBLIC

REQUEST_FILE = "root-request.json"


def save_request(request: RootRequest, out: Path | None, state: Path) -> Path:
    """Write a request into a file; by default into the state folder.

    Raises:
        StateError: if it can't be written.
    """
    path = out if out is not None else state / REQUEST_FILE
    write_durably(path, request.encode() + b"\n", mode=PUBLIC)
    return path


def next_lines(request: RootRequest, path: Path, state: Path) -> list[str]:
    """Return what a request asks for, and how it is answered."""
    return [
        "The root's key is not here, so nothing is in force yet. This was written for the root:",
        *describe_request(request),
        f"Next: take {quote_path(path)} to where the roots are kept, and there:",
        f"  handfast ca root sign {quote_path(Path(path.name))} --keys FOLDER --out answer.json",
        f"Then here: handfast ca root import answer.json{dir_option(state)}",
    ]
