"""``handfast ca distrust``: revoke an issuing CA."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.authority import open_authority
from pki.cli.state.key_access import PassphraseFileOption
from pki.cli.state.trust_distribution import distribute


def distrust(
    key_id: Annotated[str, typer.Argument(help="The issuing CA's key id, or its beginning.")],
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Revoke an issuing CA whose key leaked, and all that it signed. Works without the root key."""
    with open_authority(directory, passphrase_file=passphrase_file) as authority:
        record = authority.distrust(key_id)
        distribution = distribute(authority, directory)
        active = [item for item in authority.issuers() if item.status.value == "active"]
    needs_rotation = len(active) < 2
    print_result(
        "ca distrust",
        {
            "issuing_ca": record.key_id,
            "status": record.status.value,
            **distribution.to_json(),
            "needs_rotation": needs_rotation,
        },
        [
            f"Issuing CA {record.key_id} is distrusted, with every certificate that it signed",
            f"The root's CRL was brought to {len(distribution.updated)} credential directories "
            f"here; bring {quote_path(ca_directory(directory) / 'crl.pem')} to all others",
            "Next: bring the root's key back, then handfast ca rotate, and issue new certificates"
            if needs_rotation
            else "Next: issue new certificates for all that it signed",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete("The issuing CA is distrusted")
