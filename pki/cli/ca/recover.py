"""``handfast ca recover``: go on with an older ledger when the newest is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authority import Authority
from pki.authority.directory import AuthorityDirectory
from pki.authority.recovery import RecoveryResult
from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import ca_suggested, open_authority
from pki.cli.state.key_access import (
    PassphraseFileOption,
    ca_passphrase,
    passphrase_remedy,
    token_access,
)
from pki.cli.state.ledger_place import ledger_elsewhere
from pki.cli.state.trust_distribution import distribute, read_crls_below
from pki.errors import StateError, quote_untrusted
from pki.files import read_bounded
from pki.x509 import CrlSet
from pki.x509.readers import MAX_CRLS_BYTES


def recover(
    crls: Annotated[
        list[Path] | None,
        typer.Option(
            "--crl", help="A crl.pem of a receiver elsewhere; those below DIR are always read."
        ),
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Go on with an older ledger when the newest is lost for good; what is revoked stays so."""
    named = [_read_crls(path) for path in crls or ()]
    with ca_suggested(directory):
        recovered = Authority.recover(
            ca_directory(directory),
            [*named, *read_crls_below(directory)],
            passphrase=ca_passphrase(
                passphrase_file,
                is_needed=AuthorityDirectory(ca_directory(directory)).needs_passphrase(),
            ),
            tokens=token_access(),
            ledger=ledger_elsewhere(),
            passphrase_remedy=passphrase_remedy(passphrase_file),
        )
    with open_authority(directory, passphrase_file=passphrase_file) as authority:
        distribution = distribute(authority, directory)
    print_result(
        "ca recover",
        {
            "was_older": recovered.was_older,
            "lost_commits": recovered.lost_commits,
            "crls_imported": list(recovered.imported_from),
            "unknown_certificates_end_by": recovered.unknown_end_by,
            "revocations_kept": [
                {"serial": item.serial, "issuing_ca": item.issuer} for item in recovered.kept
            ],
            **distribution.to_json(),
        },
        [
            *_describe(recovered),
            *(
                f"STILL REVOKED, and kept beside the ledger, is {item.serial}: the ledger does not "
                f"know its issuing CA {item.issuer}"
                for item in recovered.kept
            ),
            f"The CRLs were brought to {distribution.directories_here}",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete("The ledger was accepted")


def _describe(recovered: RecoveryResult) -> list[str]:
    imported = (
        f"Revocations were imported from published lists of {', '.join(recovered.imported_from)}"
        if recovered.imported_from
        else "No published CRL revokes more than the ledger"
    )
    if not recovered.was_older or recovered.unknown_end_by is None:
        return ["The ledger is the newest one: there was nothing to accept", imported]
    lost = "an unknown number of" if recovered.lost_commits is None else str(recovered.lost_commits)
    return [
        f"Accepted an older ledger, which has lost {lost} commits",
        imported,
        "Note: certificates that were issued since it was copied are unknown to it. They can't be "
        f"renewed, and the last ends by {recovered.unknown_end_by:%Y-%m-%d %H:%M:%S} UTC",
        "  Revoke one of them by its serial number: handfast revoke SERIAL",
        "  End all of them at once: handfast ca rotate, then handfast ca distrust with the key id "
        "of the previous issuing CA, and issue new certificates",
        "Next: bring crl.pem to every receiver elsewhere; look at: handfast ca status",
    ]


def _read_crls(path: Path) -> CrlSet:
    try:
        return CrlSet.read(read_bounded(path, max_bytes=MAX_CRLS_BYTES)[0])
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
