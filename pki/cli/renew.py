"""``handfast renew``: renews certificates that are due; one directory, or all of a folder."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from pki.authority import Authority
from pki.authority.lifetimes import renewal_due
from pki.cli.exit_codes import PARTLY
from pki.cli.options import (
    DEFAULT_DIR,
    DirOption,
    ca_directory,
    parse_lifetime,
    parse_path,
)
from pki.cli.output import JsonOption, print_error, print_result, quote_path
from pki.cli.state.authority import open_authority
from pki.cli.state.busy_folders import work_through
from pki.cli.state.credential_folders import FailedFolders, credential_folders
from pki.cli.state.key_access import PassphraseFileOption
from pki.cli.state.ledger_lookup import recorded_chain, require_record
from pki.cli.state.meant_path import path_suggested
from pki.cli.state.renewal import Renewal, find_credential, require_key
from pki.cli.state.trust_distribution import (
    belongs_to,
    error_lines,
    import_crls,
)
from pki.errors import CouldNotTellError, PkiError, StateError, counted, quote_untrusted
from pki.files import awaits_first_certificate, find_layout, read_partial_credential
from pki.files.lock import WAIT_SECONDS


def renew(
    target: Annotated[
        Path,
        typer.Argument(
            parser=parse_path, metavar="DIR", help="The credential directory; a folder with --all."
        ),
    ],
    every: Annotated[
        bool, typer.Option("--all", help="Renew every credential of this CA in the folder DIR.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only check whether it is due: exit 0 yes, 1 no, 3 could not tell."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Renew it even if it is not due.")] = False,
    ttl: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_lifetime,
            metavar="TIME",
            help="Lifetime: 12h, 24h at most; by default that of the old certificate.",
        ),
    ] = None,
    csr: Annotated[
        Path | None,
        typer.Option(help="A new certificate request, for a directory without the key."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="With --csr: the workload, needed where another user can change the directory."
        ),
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Renew a certificate that is due, and update trust bundle and revocation lists."""
    if every and (check or csr is not None):
        raise typer.BadParameter("--all goes with neither --check nor --csr")
    if check:
        _check_due(target, directory, as_json=as_json)
        return
    if name is not None and csr is None:
        raise typer.BadParameter("--name goes with --csr alone")
    wait_seconds = 0 if every else WAIT_SECONDS
    renewal = Renewal(directory, force, ttl, csr, name, wait_seconds)
    if every:
        _renew_all(renewal, target, passphrase_file, as_json=as_json)
        return
    with path_suggested(target, directory, renews=True):
        find_credential(target)
    with open_authority(directory, passphrase_file=passphrase_file) as authority:
        import_crls(authority, directory)
        facts, lines = renewal.run(authority, target)
    print_result("renew", facts, lines, as_json=as_json)


def _renew_all(
    renewal: Renewal, folder: Path, passphrase_file: Path | None, *, as_json: bool
) -> None:
    """Renew what is due in a folder; a directory that fails does not stop the others."""
    if not folder.is_dir():
        with path_suggested(folder, renewal.state):
            raise StateError(f"{quote_untrusted(folder)} is no folder")
    failed: FailedFolders = []
    results: list[dict[str, object]] = []
    lines: list[str] = []
    with open_authority(renewal.state, passphrase_file=passphrase_file) as authority:
        import_crls(authority, renewal.state)
        ca_folder = ca_directory(renewal.state)

        def renew_one(path: Path) -> None:
            if _holds_credential(authority, path):
                facts, said = renewal.run(authority, path)
                results.append(facts)
                lines.append(f"{quote_path(path)}: {said[0]}")

        folders = chain((folder,), credential_folders(folder, ca_folder, failed))
        work_through(folders, renew_one, failed)
    renewed = sum(bool(facts["renewed"]) for facts in results)
    if not results and not failed:
        raise StateError(
            f"{quote_untrusted(folder)} holds no credential of this CA",
            remedy="Name a folder with credential directories below it",
        )
    print_result(
        "renew --all",
        {
            "folder": folder,
            "renewed": renewed,
            "directories": results,
            "failed": [{"directory": str(path), "error": str(error)} for path, error in failed],
        },
        [*lines, f"Renewed {renewed} of {counted(len(results) + len(failed), 'credential')}"],
        as_json=as_json,
    )
    if failed:
        print_error(
            f"{len(failed)} of {counted(len(results) + len(failed), 'credential')} could not be "
            "renewed: " + error_lines(failed),
            "Repair them, and run this again; remove a directory that nobody uses",
        )
        raise typer.Exit(PARTLY)


def _holds_credential(authority: Authority, path: Path) -> bool:
    layout_and_key = find_layout(path)
    if layout_and_key is None:
        return False
    layout, holds_key = layout_and_key
    if awaits_first_certificate(path, layout):
        return False
    return belongs_to(authority, read_partial_credential(path, layout, holds_key=holds_key))


def _check_due(target: Path, directory: Path, *, as_json: bool) -> None:
    """Check whether there is anything to renew.

    Raises:
        CouldNotTellError: if anything prevents an answer, so that no failure reads as "no".
    """
    try:
        reasons, due = _due_reasons(target, directory)
    except PkiError as error:
        raise CouldNotTellError(error) from error
    except KeyboardInterrupt:
        raise CouldNotTellError(StateError("interrupted before there was an answer")) from None
    except Exception as error:
        cause = StateError(
            f"{quote_untrusted(target)}: {type(error).__name__}: {quote_untrusted(error)}"
        )
        raise CouldNotTellError(cause) from error
    print_result(
        "renew --check",
        {"directory": target, "due": bool(reasons), "reasons": reasons, "renewal_from": due},
        [
            f"Due: {', '.join(reasons)}"
            if reasons
            else f"Not due before {due:%Y-%m-%d %H:%M:%S} UTC"
        ],
        as_json=as_json,
    )
    if not reasons:
        raise typer.Exit(1)


def _due_reasons(target: Path, directory: Path) -> tuple[list[str], datetime]:
    """Return why a renewal is due, empty if it is not, and when the certificate is due.

    Raises:
        PkiError: if it can't be determined.
    """
    with path_suggested(target, directory, renews=True):
        layout, holds_key = find_credential(target)
    with open_authority(directory, read_only=True) as authority:
        contents = read_partial_credential(target, layout, holds_key=holds_key)
        if holds_key:
            require_key(contents)
        record = require_record(authority, contents)
        due = renewal_due(record.issued_at, record.not_after, int(record.serial, 16))
        bundle, crls = authority.trust()
        chain = recorded_chain(authority, record)
        now = authority.now()
    stale = contents.crls is None or {item.der for item in crls.crls.values()} != {
        item.der for item in contents.crls.crls.values()
    }
    ahead = any(item.this_update > now for item in crls.crls.values())
    old_trust = contents.bundle is None or contents.bundle.to_pem() != bundle.to_pem()
    reasons = [
        reason
        for applies, reason in (
            (record.revoked_at is not None, "the certificate was revoked: issue a new one"),
            (now >= due, "the certificate is past half of its life"),
            (now < record.issued_at, "the certificate was issued by a clock that was ahead"),
            (ahead, "a revocation list becomes valid only in the future"),
            (contents.chain != chain, "the chain is damaged"),
            (holds_key and contents.leaf_key is not contents.key, "a renewal was cut off"),
            (stale, "the revocation lists are not the newest"),
            (old_trust, "the trust bundle is not the newest"),
        )
        if applies
    ]
    return reasons, due
