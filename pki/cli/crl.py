"""``handfast crl``: signs revocation lists, and brings them to every credential."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.authority import open_authority
from pki.cli.state.key_access import PassphraseFileOption
from pki.cli.state.trust_distribution import distribute
from pki.errors import PkiError, quote_untrusted


def crl(
    force: Annotated[
        bool, typer.Option("--force", help="Sign all CRLs again, whatever their age.")
    ] = False,
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Sign the CRLs that are past half of their lifetime, and bring them to all credentials."""
    with open_authority(directory, passphrase_file=passphrase_file) as authority:
        signed, failed = 0, None
        try:
            signed = authority.refresh_crls(force=force)
        except PkiError as error:
            # The existing lists are distributed nevertheless.
            failed = error
        _, crls = authority.trust()
        now = authority.now()
        distribution = distribute(authority, directory)
    first = min((item.next_update for item in crls.crls.values()), default=None)
    ahead = [item for item in crls.crls.values() if item.this_update > now]
    crl_path = ca_directory(directory) / "crl.pem"
    print_result(
        "crl",
        {
            "signed": signed,
            "crl": crl_path,
            "crls": [
                {
                    "number": item.number,
                    "entries": len(item.revoked),
                    "issuer": item.crl.issuer.rfc4514_string(),
                    "next_update": item.next_update,
                }
                for item in crls.crls.values()
            ],
            **distribution.to_json(),
        },
        [
            f"Signed {signed} of {len(crls.crls)} CRLs"
            + (f"; the first becomes stale at {first:%Y-%m-%d %H:%M:%S} UTC" if first else ""),
            *(
                f"Note: CRL number {item.number} of "
                f"{quote_untrusted(item.crl.issuer.rfc4514_string())} is valid only from "
                f"{item.this_update:%Y-%m-%d %H:%M:%S} UTC: a clock was ahead. Bring the root's "
                "key back, and run this again"
                for item in ahead
            ),
            f"They lie in {quote_path(crl_path)}, and in " + distribution.directories_here,
            "Next: a timer for this command, well within half of the CRLs' life",
        ],
        as_json=as_json,
    )
    if failed is not None:
        raise failed
    distribution.exit_if_incomplete("The CRLs are signed")
