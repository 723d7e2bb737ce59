"""``handfast ca recover``: go on with an older ledger when the newest is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from pki.authority import Authority
from pki.authority.backups.resuming import Resumption, Retirement
from pki.authority.directory import AuthorityDirectory
from pki.authority.recovery import RecoveryResult
from pki.cli.exit_codes import FAILED
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
from pki.x509.readers import MAX_BUNDLE_BYTES, MAX_CRLS_BYTES, read_certificate

_NEXT = (
    "Next: let an admin look at the registrations (handfast registration confirm), and acknowledge "
    "the restored audit log, about which followers alarm: handfast audit acknowledge",
)


def recover(
    crls: Annotated[
        list[Path] | None,
        typer.Option(
            "--crl", help="A crl.pem of a receiver elsewhere; those below DIR are always read."
        ),
    ] = None,
    retire: Annotated[
        bool,
        typer.Option(
            "--retire",
            help="After a restore: distrust all issuing CAs, and make a new one. Needs the root's "
            "key.",
        ),
    ] = False,
    issuers: Annotated[
        list[Path] | None,
        typer.Option(
            "--issuer",
            metavar="FILE",
            help="With --retire: an issuing CA from after the backup, which is distrusted too.",
        ),
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Go on with an older or restored ledger, the newest being lost; what is revoked stays so."""
    named = [_read_crls(path) for path in crls or ()]
    retirement = Retirement(tuple(map(_read_issuer, issuers or ()))) if retire else None
    if issuers and not retire:
        raise typer.BadParameter("it is for --retire alone", param_hint="'--issuer'")
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
            retirement=retirement,
        )
    with open_authority(directory, passphrase_file=passphrase_file) as authority:
        distribution = distribute(authority, directory)
    resumption = recovered.resumption
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
            **({} if resumption is None else {"resumption": _to_json(resumption)}),
            **distribution.to_json(),
        },
        [
            *(_describe(recovered) if resumption is None else describe_resumption(resumption)),
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
    if resumption is not None and not resumption.is_done:
        raise typer.Exit(FAILED)


def describe_resumption(resumption: Resumption) -> list[str]:
    """Return whether a restored CA signs again, and what it lacks."""
    if resumption.is_done and resumption.retired:
        return [
            "The CA signs again. DISTRUSTED is all that was issued before: issuing CA "
            + ", ".join(resumption.retired),
            "A new issuing CA signs from now on: give every workload a new certificate",
            *_NEXT,
        ]
    if resumption.is_done:
        return [
            "The CA signs again: it has a list of every issuer from outside the backup",
            "Note: what was issued after the backup, and not revoked, is unknown to it, can't be "
            "renewed, and ends within a day",
            *_NEXT,
        ]
    lines = ["THE CA STILL SIGNS NOTHING. What the lists revoke is recorded"]
    if resumption.unknown_issuers:
        lines += [
            "It does not hold the issuing CA of a list: " + "; ".join(resumption.unknown_issuers),
            "  That one was made after the backup. Distrust it with all others, by its "
            "certificate: handfast ca recover --retire --issuer FILE",
        ]
    if resumption.unknown_serials:
        lines += [
            "The lists revoke what it has never issued: " + ", ".join(resumption.unknown_serials),
            "  So certificates were issued after the backup, for names that it can't know. "
            "Distrust all issuing CAs, and go on with a new one: handfast ca recover --retire",
        ]
    if resumption.missing:
        lines += [
            "It has no list from outside of CA " + ", ".join(resumption.missing),
            "  Bring the newest crl.pem of several receivers, all in one command: handfast ca "
            "recover --crl FILE --crl FILE",
        ]
    return lines


def _to_json(resumption: Resumption) -> dict[str, object]:
    return {
        "signs_again": resumption.is_done,
        "issuers_without_list": list(resumption.missing),
        "unknown_serials": list(resumption.unknown_serials),
        "unknown_issuers": list(resumption.unknown_issuers),
        "retired": list(resumption.retired),
    }


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


def _read_issuer(path: Path) -> x509.Certificate:
    try:
        return read_certificate(read_bounded(path, max_bytes=MAX_BUNDLE_BYTES)[0])
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None


def _read_crls(path: Path) -> CrlSet:
    try:
        return CrlSet.read(read_bounded(path, max_bytes=MAX_CRLS_BYTES)[0])
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
