"""``handfast ca root withdraw``: take a root out of the trust bundle."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.ca_client.received import read_moment
from pki.cli.ca.root.options import ForceOption, OutOption
from pki.cli.ca.rotate_status import hanging
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.rotation.desk import rotation_desk
from pki.cli.state.root_requests import print_request


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
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a trust bundle without a root, once no certificate hangs on it.

    Works on the folder, or with --ca over the network.
    """
    if key_id is not None and not key_id:
        raise typer.BadParameter("a key id can't be empty")
    with rotation_desk(ca, credential, directory) as desk:
        withdrawn = desk.withdraw_root(key_id or "", force=force)
    free = read_moment(withdrawn.free_at) if withdrawn.HasField("free_at") else None
    holders = list(withdrawn.holders)
    if withdrawn.request:
        still_hanging = []
        if free is not None:
            still_hanging = [
                f"{hanging(withdrawn.number_of_holders)} on the root still: import the "
                f"answer when the last one has ended, {free:%Y-%m-%d %H:%M:%S} UTC"
            ]
        print_request(
            "ca root withdraw",
            withdrawn.request,
            desk.request_path(out),
            desk.options(),
            as_json=as_json,
            waited=desk.waited,
            more=({"hanging": holders, "free_at": free}, still_hanging),
        )
        return
    number = withdrawn.bundle_number
    print_result(
        "ca root withdraw",
        {
            "status": "withdrawn",
            "bundle": number,
            "stranded": holders,
            **desk.distribution.to_json(),
        },
        [
            f"The root is withdrawn: trust bundle {number} does not hold it. {desk.reached('It')}",
            *(f"STRANDED: {holder}" for holder in holders),
            f"Next: {desk.rest()}",
        ],
        as_json=as_json,
    )
    desk.distribution.exit_if_incomplete("The root is withdrawn")
