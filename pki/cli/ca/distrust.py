"""``handfast ca distrust``: revoke an issuing CA."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.rotation.desk import rotation_desk
from pki.cli.state.key_access import PassphraseFileOption


def distrust(
    key_id: Annotated[str, typer.Argument(help="The issuing CA's key id, or its beginning.")],
    passphrase_file: PassphraseFileOption = None,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Revoke an issuing CA whose key leaked, and all that it signed. Works without the root key.

    Works on the folder, or with --ca over the network.
    """
    with rotation_desk(
        ca, credential, directory, passphrase_file=passphrase_file, is_urgent=True
    ) as desk:
        distrusted = desk.distrust(key_id)
    record, distribution = distrusted.issuing_ca, desk.distribution
    print_result(
        "ca distrust",
        {
            "issuing_ca": record.key_id,
            "status": record.status,
            **distribution.to_json(),
            "needs_rotation": distrusted.needs_rotation,
            "activated": distrusted.activated or None,
        },
        [
            f"Issuing CA {record.key_id} is distrusted, with every certificate that it signed",
            desk.reached("The root's CRL") + f"; {desk.rest()}",
            *(
                [f"Issuing CA {distrusted.activated}, which was prepared, signs from now on"]
                if distrusted.activated
                else []
            ),
            "Next: bring the root's key back, then handfast ca rotate, and issue new certificates"
            if distrusted.needs_rotation
            else "Next: issue new certificates for all that it signed",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete("The issuing CA is distrusted")
