"""``handfast ca root import``: take in what the roots signed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authority.rotation.answers import MAX_ANSWER_BYTES
from pki.authority.rotation.requests import Purpose
from pki.cli.ca.root.options import ForceOption
from pki.cli.options import DEFAULT_DIR, DirOption, dir_option
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.cli.state.trust_distribution import distribute, import_crls
from pki.errors import StateError, quote_untrusted
from pki.files import read_bounded

_NEXT = {
    Purpose.ISSUING_CA: "Next, once every receiver has the CRLs: handfast ca rotate --activate",
    Purpose.PREPARE_ROOT: "Next, once every receiver has the trust bundle and the CRLs (see "
    "handfast ca rotate status): handfast ca root activate",
}


def import_answers(
    answers: Annotated[
        list[Path], typer.Argument(metavar="ANSWER...", help="What handfast ca root sign wrote.")
    ],
    force: ForceOption = False,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Check everything that the roots signed once more, record it, and bring it to all here."""
    data = [_read(path) for path in answers]
    with open_authority(directory) as authority:
        import_crls(authority, directory)
        request, stranded = authority.import_answers(data, force=force)
        distribution = distribute(authority, directory)
        number = authority.bundle_number()
    following = _NEXT.get(request.purpose)
    print_result(
        "ca root import",
        {
            "purpose": request.purpose.value,
            "request": request.digest,
            "bundle": number,
            "stranded": [str(holder) for holder in stranded],
            **distribution.to_json(),
        },
        [
            f"Imported the answer to {request.purpose.value} of "
            f"{request.made_at:%Y-%m-%d %H:%M:%S} UTC. Trust bundle {number} is the newest",
            *(f"STRANDED: {holder}" for holder in stranded),
            f"It was brought to {len(distribution.updated)} credential directories here",
            *([following + dir_option(directory)] if following else []),
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete("The answer is imported")


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, max_bytes=MAX_ANSWER_BYTES)[0]
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
