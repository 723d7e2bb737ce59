"""``handfast ca distrust``: revoke an issuing CA."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli.ca_directory import ca_home, open_authority
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.trust_distribution import distribute


def distrust(
    key_id: Annotated[str, typer.Argument(help="The issuing CA's key id, or its beginning.")],
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Distrust an issuing CA whose key leaked, and all that it signed. Works without the root."""
    with open_authority(directory) as authority:
        record = authority.distrust(key_id)
        spread = distribute(authority, directory)
        active = [item for item in authority.issuers() if item.status.value == "active"]
    without = len(active) < 2
    print_result(
        "ca distrust",
        {
            "issuing_ca": record.key_id,
            "status": record.status.value,
            **spread.to_json(),
            "needs_rotation": without,
        },
        [
            f"Issuing CA {record.key_id} is distrusted, with every certificate that it signed",
            f"The root's list was brought to {len(spread.reached)} credential directories here; "
            f"bring {quote_path(ca_home(directory) / 'crl.pem')} to all others",
            "Next: bring the root's key back, then handfast ca rotate, and issue anew"
            if without
            else "Next: issue anew what it had signed",
        ],
        as_json=as_json,
    )
    spread.finish("It is distrusted")
