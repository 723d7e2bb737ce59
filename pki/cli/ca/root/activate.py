"""``handfast ca root activate``: issue under the new root."""

from __future__ import annotations

from pki.ca_client.received import read_moment
from pki.cli.ca.root.options import ForceOption
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.rotation.desk import rotation_desk


def activate(
    force: ForceOption = False,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Issue certificates under the prepared root from now on. The old root stays trusted.

    Works on the folder, or with --ca over the network.
    """
    with rotation_desk(ca, credential, directory) as desk:
        activated = desk.activate_root(force=force)
    free = None
    if activated.HasField("withdraw_free_at"):
        free = read_moment(activated.withdraw_free_at)
    print_result(
        "ca root activate",
        {
            "root": activated.root,
            "status": activated.status,
            "stranded": list(activated.stranded),
            "withdraw_free_at": free,
            **desk.distribution.to_json(),
        },
        [
            f"Root {activated.root} is active: new certificates hang on it. The old root is still "
            "trusted",
            *(f"STRANDED: {holder}" for holder in activated.stranded),
            f"Next: {desk.renewals()}. The last one under the old root ends at "
            f"{free:%Y-%m-%d %H:%M:%S} UTC; then: handfast ca root withdraw{desk.options()}"
            if free is not None
            else f"Next: handfast ca root withdraw{desk.options()}",
        ],
        as_json=as_json,
    )
    desk.distribution.exit_if_incomplete(f"Root {activated.root} is active")
