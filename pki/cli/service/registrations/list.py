"""``handfast registration list``: who is registered for what."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.authority.lifetimes import duration_text
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result, print_table, table_fits
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.registrar import registrar
from pki.cli.service.registrations.lines import registration_json, registration_lines
from pki.errors import counted

_HEADINGS = ("workload", "certificates", "by", "recoveries", "also for")


def list_registrations(
    under: Annotated[
        str, typer.Option(metavar="PATH", help="Only this workload and those below its path.")
    ] = "",
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """List the registrations. Works on the folder, or with --ca over the network."""
    with registrar(ca, credential, directory) as desk:
        found = list(desk.all(under))
    rows = [
        (
            item.spiffe_id,
            f"{item.profile}, {duration_text(item.lifetime.ToTimedelta())}",
            ", ".join(item.proofs),
            str(item.recovery.times),
            ", ".join([*item.dns_names, *item.ip_addresses]),
        )
        for item in found
    ]
    if not as_json and rows and table_fits(_HEADINGS, rows):
        print_table(counted(len(rows), "registration"), _HEADINGS, rows)
        return
    lines = [line for item in found for line in (item.spiffe_id, *registration_lines(item))]
    print_result(
        "registration list",
        {"registrations": [registration_json(item) for item in found]},
        lines or ["Nobody is registered. Next: handfast registration create NAME"],
        as_json=as_json,
    )
