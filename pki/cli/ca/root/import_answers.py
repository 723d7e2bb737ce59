"""``handfast ca root import``: take in what the roots signed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authority.rotation.answers import MAX_ANSWER_BYTES
from pki.authority.rotation.requests import Purpose
from pki.ca_client.received import read_moment
from pki.cli.ca.root.options import ForceOption
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.rotation.desk import rotation_desk
from pki.errors import StateError, quote_untrusted
from pki.files import read_bounded

_NEXT: dict[str, str] = {
    Purpose.ISSUING_CA: "Next, once every receiver has the CRLs: handfast ca rotate --activate",
    Purpose.PREPARE_ROOT: "Next, once every receiver has the trust bundle and the CRLs (see "
    "handfast ca rotate status): handfast ca root activate",
}


def import_answers(
    answers: Annotated[
        list[Path], typer.Argument(metavar="ANSWER...", help="What handfast ca root sign wrote.")
    ],
    force: ForceOption = False,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Check everything that the roots signed once more, record it, and bring it to all here.

    Works on the folder, or with --ca over the network.
    """
    data = [_read(path) for path in answers]
    with rotation_desk(ca, credential, directory) as desk:
        imported = desk.import_answers(data, force=force)
    following = _NEXT.get(imported.purpose)
    print_result(
        "ca root import",
        {
            "purpose": imported.purpose,
            "request": imported.digest,
            "bundle": imported.bundle_number,
            "stranded": list(imported.stranded),
            **desk.distribution.to_json(),
        },
        [
            f"Imported the answer to {imported.purpose} of "
            f"{read_moment(imported.made_at):%Y-%m-%d %H:%M:%S} UTC. Trust bundle "
            f"{imported.bundle_number} is the newest",
            *(f"STRANDED: {holder}" for holder in imported.stranded),
            desk.reached("It"),
            *([following + desk.options()] if following else []),
        ],
        as_json=as_json,
    )
    desk.distribution.exit_if_incomplete("The answer is imported")


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, max_bytes=MAX_ANSWER_BYTES)[0]
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
