"""``handfast ca rotate``: replace the issuing CA."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.authority.ledger import IssuerStatus
from pki.cli.ca_directory import open_authority
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.trust_distribution import distribute
from pki.keys import KeyType


def rotate(
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Make the next one and publish its list; no more.")
    ] = False,
    activate: Annotated[
        bool, typer.Option("--activate", help="Bring the prepared one into use.")
    ] = False,
    key_type: Annotated[KeyType, typer.Option(help="Of the new key.")] = KeyType.ECDSA_P256,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a new issuing CA, bring its list to every credential here, and bring it into use."""
    if prepare and activate:
        raise typer.BadParameter("--prepare and --activate are two steps: give one of them")
    with open_authority(directory) as authority:
        if activate:
            record = authority.activate_issuer()
        else:
            record = authority.prepare_issuer(key_type=key_type)
        spread = distribute(authority, directory)
        # Whoever has not got its list would refuse everything that it signs.
        if not prepare and not activate and not spread.left:
            record = authority.activate_issuer()
    print_result(
        "ca rotate",
        {
            "issuing_ca": record.key_id,
            "status": record.status.value,
            "not_after": record.certificate.not_valid_after_utc,
            **spread.to_json(),
        },
        [
            f"Issuing CA {record.key_id} is {record.status.value}, until "
            f"{record.certificate.not_valid_after_utc:%Y-%m-%d}",
            f"Its revocation list was brought to {len(spread.reached)} credential directories here",
            "Next, once every receiver has the lists: handfast ca rotate --activate"
            if record.status is IssuerStatus.PREPARED
            else "Certificates of the one before stay good until they end; renewals come from "
            "the new one",
        ],
        as_json=as_json,
    )
    spread.finish(f"Issuing CA {record.key_id} is {record.status.value}")
