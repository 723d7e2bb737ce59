"""``handfast ca root request``: write the request that waits for the roots once more."""

from __future__ import annotations

from pki.cli.ca.root.options import OutOption
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.rotation.desk import rotation_desk
from pki.cli.state.root_requests import print_request


def export_request(
    out: OutOption = None,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Write the request that waits for the roots into a file, as the command did that made it.

    Works on the folder, or with --ca over the network.
    """
    with rotation_desk(ca, credential, directory, read_only=True) as desk:
        data = desk.request()
    path = desk.request_path(out)
    print_request("ca root request", data, path, desk.options(), as_json=as_json)
