"""``handfast ca root withdraw``: take a root out of the trust bundle."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.authority.rotation.readiness import last_end
from pki.cli.ca.root.options import ForceOption, OutOption
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.cli.state.root_requests import next_lines, save_request
from pki.cli.state.trust_distribution import distribute, import_crls


def withdraw(
    key_id: Annotated[
        str | None,
        typer.Argument(
            help="The root's key id, or its beginning. By default the one before the active one; a "
            "prepared one is given up."
        ),
    ] = None,
    out: OutOption = None,
    force: ForceOption = False,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a trust bundle without a root, once no certificate hangs on it."""
    with open_authority(directory) as authority:
        import_crls(authority, directory)
        request, stranded = authority.withdraw_root(key_id, force=force)
        if request is not None:
            path = save_request(request, out, directory)
            free = last_end(stranded)
            print_result(
                "ca root withdraw",
                {
                    "status": "requested",
                    "request": path,
                    "digest": request.digest,
                    "hanging": [str(holder) for holder in stranded],
                    "free_at": free,
                },
                [
                    *next_lines(request, path, directory),
                    *(
                        [
                            f"{len(stranded)} certificates hang on the root still: import the "
                            f"answer when the last one has ended, {free:%Y-%m-%d %H:%M:%S} UTC"
                        ]
                        if free is not None
                        else []
                    ),
                ],
                as_json=as_json,
            )
            return
        distribution = distribute(authority, directory)
        number = authority.bundle_number()
    print_result(
        "ca root withdraw",
        {
            "status": "withdrawn",
            "bundle": number,
            "stranded": [str(holder) for holder in stranded],
            **distribution.to_json(),
        },
        [
            f"The root is withdrawn: trust bundle {number} does not hold it. It was brought to "
            f"{len(distribution.updated)} credential directories here",
            *(f"STRANDED: {holder}" for holder in stranded),
            "Next: bring bundle.pem and crl.pem to all others",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete("The root is withdrawn")
