"""Writes requests to the roots, and tells how a request is answered."""

from __future__ import annotations

from pathlib import Path

from pki.authority.rotation.requests import RootRequest
from pki.authority.rotation.root import describe_request
from pki.cli.output import print_result, quote_path
from pki.files import write_durably
from pki.files.open_folder import PUBLIC

REQUEST_FILE = "root-request.json"


def print_request(
    command: str,
    data: bytes,
    path: Path,
    options: str,
    *,
    as_json: bool,
    waited: bytes = b"",
    more: tuple[dict[str, object], list[str]] = ({}, []),
) -> None:
    """Write a request into a file, and print what it asks for and how it is answered.

    Args:
        command: the command that made it.
        data: the request.
        path: the file.
        options: the options with which the answer's import finds the CA.
        as_json: whether to print facts for scripts.
        waited: the request that waited before; empty if there was none.
        more: further facts for scripts, and lines for people.

    Raises:
        StateError: if it can't be written.
        InputError: if it is no request.
    """
    request = RootRequest.read(data)
    write_durably(path, data + b"\n", mode=PUBLIC)
    before = RootRequest.read(waited) if waited else None
    ended = before if before is not None and before.digest != request.digest else None
    facts, lines = more
    print_result(
        command,
        {
            "status": "requested",
            "request": path,
            "digest": request.digest,
            "ended": ended.digest if ended is not None else None,
            **facts,
        },
        [
            *(
                [
                    f"The request that waited ({ended.purpose.value} {ended.digest[:16]}) has "
                    "ended: this one takes its place, and an answer to that one is refused"
                ]
                if ended is not None
                else []
            ),
            "The root's key is not at the CA, so nothing is in force yet. This was written for the "
            "root:",
            *describe_request(request),
            f"Next: take {quote_path(path)} to where the roots are kept, and there:",
            f"  handfast ca root sign {quote_path(Path(path.name))} --keys FOLDER --out "
            "answer.json",
            f"Then here: handfast ca root import answer.json{options}",
            *lines,
        ],
        as_json=as_json,
    )
