"""``handfast revoke`` and ``handfast crl``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authority.withdrawal import REASONS
from pki.cli.output import JsonOption, tell
from pki.cli.state import DEFAULT_DIR, DirOption, ca_home, distribute, open_authority
from pki.errors import shown
from pki.files import load_credential


def revoke(
    target: Annotated[str, typer.Argument(help="A serial number in hex, or a directory.")],
    reason: Annotated[str, typer.Option(help=", ".join(REASONS))] = "unspecified",
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Revoke a certificate and all that was renewed from it; nothing undoes it."""
    if reason not in REASONS:
        raise typer.BadParameter(f"reason is one of {', '.join(REASONS)}")
    serial: int | str = target
    if Path(target).is_dir():
        serial = load_credential(Path(target)).credential.leaf.serial_number
    with open_authority(directory) as authority:
        hit = authority.revoke(serial, reason=reason)
        reached = distribute(authority, directory)
    tell(
        "revoke",
        {
            "revoked": [
                {"serial": item.serial, "spiffe_id": item.spiffe_id, "at": item.revoked_at}
                for item in hit
            ],
            "reason": reason,
            "crl": ca_home(directory) / "crl.pem",
            "brought_to": [str(folder) for folder in reached],
        },
        [
            *(f"Revoked {item.serial} of {item.spiffe_id}" for item in hit),
            *([] if hit else [f"Revoked {serial}, which this older ledger does not hold"]),
            f"The new list was brought to {len(reached)} credential directories here: servers "
            "that use them refuse it within a second",
            f"Next: bring {ca_home(directory) / 'crl.pem'} to every receiver elsewhere",
        ],
        as_json=as_json,
    )


def crl(
    force: Annotated[
        bool, typer.Option("--force", help="Sign all lists anew, whatever their age.")
    ] = False,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Sign the revocation lists that are past half of their life, and bring all up to date."""
    with open_authority(directory) as authority:
        signed = authority.refresh_lists(force=force)
        _, lists = authority.trust()
        now = authority.now()
        reached = distribute(authority, directory)
    first = min((item.next_update for item in lists.lists.values()), default=None)
    ahead = [item for item in lists.lists.values() if item.this_update > now]
    tell(
        "crl",
        {
            "signed": signed,
            "crl": ca_home(directory) / "crl.pem",
            "lists": [
                {
                    "number": item.number,
                    "entries": len(item.revoked),
                    "issuer": item.crl.issuer.rfc4514_string(),
                    "next_update": item.next_update,
                }
                for item in lists.lists.values()
            ],
            "brought_to": [str(folder) for folder in reached],
        },
        [
            f"Signed {signed} of {len(lists.lists)} lists anew"
            + (f"; the first ends at {first:%Y-%m-%d %H:%M:%S} UTC" if first else ""),
            *(
                f"Mind: list number {item.number} of {shown(item.crl.issuer.rfc4514_string())} "
                f"counts only from {item.this_update:%Y-%m-%d %H:%M:%S} UTC: a clock was ahead. "
                "Bring the root's key back, and run this again"
                for item in ahead
            ),
            f"They lie in {ca_home(directory) / 'crl.pem'}, and were brought to {len(reached)} "
            "credential directories here",
            "Next: a timer for this command, well within half of the lists' life",
        ],
        as_json=as_json,
    )
