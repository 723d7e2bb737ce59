"""``handfast ca backup``: the whole CA in one file, while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pki.authority.backups.manifest import Manifest
from pki.authority.directory import AuthorityDirectory
from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory, parse_path
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.authority import open_authority
from pki.errors import counted


def backup(
    out: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path,
            metavar="FILE",
            show_default="TRUST-DOMAIN-TIME.backup",
            help="The new file; it replaces none.",
        ),
    ] = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Write the whole CA to one file, consistent while it runs: ledger, keys, policy, settings."""
    with open_authority(directory, read_only=True) as authority:
        path = out or Path(_name(authority.trust_domain.name, authority.now()))
        made = authority.backup(path)
    is_encrypted = AuthorityDirectory(ca_directory(directory)).needs_passphrase()
    print_result(
        "ca backup",
        {
            "file": path,
            "bytes": path.stat().st_size,
            "made_at": made.made_at,
            "trust_domain": made.trust_domain,
            "commit": made.sequence,
            "certificates": made.certificates,
            "log_entries": made.log_size,
            "keys_encrypted": is_encrypted,
            "holds_root_key": made.holds_root_key,
            "keys_elsewhere": dict(made.keys_elsewhere),
        },
        [
            f"The CA of {made.trust_domain} is in {quote_path(path)}: "
            f"{counted(made.certificates, 'certificate')}, commit {made.sequence}, "
            f"{made.log_size} entries of the audit log",
            *_about_keys(made, is_encrypted=is_encrypted),
            "What is revoked or issued from now on is not in it. Make backups often, and know how "
            "to go on with one: handfast docs ca-backup",
        ],
        as_json=as_json,
    )


def _about_keys(made: Manifest, *, is_encrypted: bool) -> Iterator[str]:
    if is_encrypted:
        yield "It holds the CA's keys, encrypted: keep their passphrase elsewhere"
    else:
        yield (
            "IT HOLDS THE CA'S KEYS, NOT ENCRYPTED, as they are on this disk: whoever reads it is "
            "the CA"
        )
    if made.holds_root_key:
        yield "The root's key is in it too: bring that to a safe place, away from the CA"
    for name, uri in made.keys_elsewhere.items():
        yield (
            f"Not in it is the key of {name}, which is in a token ({uri}): back up the token with "
            "its maker's tools"
        )


def _name(trust_domain: str, now: datetime) -> str:
    return f"{trust_domain}-{now:%Y%m%dT%H%M%SZ}.backup"
