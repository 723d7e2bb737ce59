"""``handfast ca admin``: make the first admin, on the CA's own machine."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.authority.enrollment import create_registration
from pki.authority.registrations import Registration
from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory, dir_option
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.service.ca_policy import CA_POLICY, add_admin
from pki.cli.service.operator import operator
from pki.cli.state.authority import open_authority
from pki.errors import AlreadyThereError
from pki.identity import SpiffeId


def admin(
    name: Annotated[str, typer.Argument(help="The workload of the admin: a path, or a SPIFFE ID.")],
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Give a workload the role ca-admin in this CA, and register it."""
    with open_authority(directory) as authority:
        spiffe_id = SpiffeId.parse_name(name, authority.trust_domain)
        try:
            create_registration(authority.context, operator(), Registration(spiffe_id))
            is_new = True
        except AlreadyThereError:
            is_new = False
        policy = ca_directory(directory) / CA_POLICY
        was_added = add_admin(policy, spiffe_id)
    print_result(
        "ca admin",
        {"spiffe_id": str(spiffe_id), "policy": policy, "added": was_added, "registered": is_new},
        [
            f"{spiffe_id} is a ca-admin by {quote_path(policy)}"
            + ("" if was_added else ", as it was before"),
            f"Next: handfast token create {spiffe_id.path}{dir_option(directory)}, and on the "
            f"admin's machine: handfast enroll TOKEN --out certs/{spiffe_id.segments[-1]}",
        ],
        as_json=as_json,
    )
