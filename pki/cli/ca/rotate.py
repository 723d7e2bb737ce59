"""``handfast ca rotate``: replace the issuing CA."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.authority.ledger import IssuerStatus
from pki.cli.options import DEFAULT_DIR, DirOption, dir_option
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.cli.state.key_access import KeyOption, ModuleOption, PassphraseFileOption
from pki.cli.state.trust_distribution import distribute
from pki.keys import KeyType


def rotate(
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only make the next issuing CA, and publish its CRL.")
    ] = False,
    activate: Annotated[
        bool, typer.Option("--activate", help="Start to use the prepared issuing CA.")
    ] = False,
    key_type: Annotated[
        KeyType, typer.Option(help="The kind of the new key.")
    ] = KeyType.ECDSA_P256,
    key: KeyOption = None,
    module: ModuleOption = None,
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a new issuing CA, bring its CRL to every credential here, and start to use it."""
    if prepare and activate:
        raise typer.BadParameter("--prepare and --activate are two steps: give one of them")
    with open_authority(directory, passphrase_file=passphrase_file, module=module) as authority:
        if activate:
            record = authority.activate_issuer()
        else:
            record = authority.prepare_issuer(key_type=key_type, place=key)
        distribution = distribute(authority, directory)
        # A receiver without its CRL would refuse everything that it signs.
        if not prepare and not activate and not distribution.failed:
            record = authority.activate_issuer()
        place = authority.key_place(record)
    print_result(
        "ca rotate",
        {
            "issuing_ca": record.key_id,
            "status": record.status.value,
            "key_place": place,
            "not_after": record.certificate.not_valid_after_utc,
            **distribution.to_json(),
        },
        [
            f"Issuing CA {record.key_id} is {record.status.value}; it expires on "
            f"{record.certificate.not_valid_after_utc:%Y-%m-%d}",
            f"Its revocation list was brought to {len(distribution.updated)} credential "
            "directories here",
            "Next, once every receiver has the CRLs: handfast ca rotate --activate"
            + dir_option(directory)
            if record.status is IssuerStatus.PREPARED
            else "Certificates of the previous one stay valid until they end; renewals come from "
            "the new one",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete(f"Issuing CA {record.key_id} is {record.status.value}")
