"""``handfast ca restore``: a CA from a backup, which signs nothing before it knows enough."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pki.authority import Authority
from pki.authority.backups.restoring import restore_backup
from pki.authority.backups.resuming import Resumption, Retirement
from pki.authority.backups.working_folder import is_working_folder
from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger.databases.place import LedgerPlace
from pki.cli.ca.recover import describe_resumption
from pki.cli.options import ca_directory, dir_option, parse_path
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.key_access import (
    PassphraseFileOption,
    ca_passphrase,
    passphrase_remedy,
    token_access,
)
from pki.cli.state.ledger_place import LEDGER_VARIABLE, LedgerOption, ledger_elsewhere
from pki.clock import system_clock
from pki.errors import StateError, counted, quote_untrusted


def restore(
    file: Annotated[Path, typer.Argument(parser=parse_path, help="What ca backup wrote.")],
    directory: Annotated[
        Path,
        typer.Option(
            "--dir", parser=parse_path, metavar="DIR", help="A new or empty folder for the CA."
        ),
    ],
    retire: Annotated[
        bool,
        typer.Option(
            "--retire",
            help="Distrust all issuing CAs at once, and make a new one. Needs the root's key.",
        ),
    ] = False,
    passphrase_file: PassphraseFileOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a CA of a backup, in an empty folder. It signs nothing before it knows what it lacks."""
    ledger = ledger or ledger_elsewhere()
    _refuse_what_is_there(directory, ledger)
    home = ca_directory(directory)
    restored = restore_backup(file, home, clock=system_clock, ledger=ledger)
    resumption: Resumption | None = None
    if retire:
        resumption = Authority.recover(
            home,
            passphrase=ca_passphrase(
                passphrase_file, is_needed=AuthorityDirectory(home).needs_passphrase()
            ),
            tokens=token_access(),
            passphrase_remedy=passphrase_remedy(passphrase_file),
            retirement=Retirement(),
        ).resumption
    manifest, option = restored.manifest, dir_option(directory)
    print_result(
        "ca restore",
        {
            "directory": directory,
            "trust_domain": manifest.trust_domain,
            "backup_made_at": manifest.made_at,
            "certificates": manifest.certificates,
            "audit_log": restored.origin,
            "void_tokens": restored.void_tokens,
            "unconfirmed_registrations": list(restored.unconfirmed),
            "keys_elsewhere": dict(manifest.keys_elsewhere),
            "signs": resumption is not None and resumption.is_done,
            "retired": [] if resumption is None else list(resumption.retired),
        },
        [
            f"The CA of {manifest.trust_domain} is in {quote_path(home)}, as it was at "
            f"{manifest.made_at:%Y-%m-%d %H:%M:%S} UTC, with "
            f"{counted(manifest.certificates, 'certificate')}",
            f"Void are {counted(restored.void_tokens, 'token')}, every line's recovery, and JWTs "
            "from before",
            f"{counted(len(restored.unconfirmed), 'registration')} must be confirmed: handfast "
            f"registration confirm{option}",
            *(
                f"Not in the backup is the key of {name}, which is in a token ({uri})"
                for name, uri in manifest.keys_elsewhere.items()
            ),
            *(describe_resumption(resumption) if resumption is not None else _waits(option)),
        ],
        as_json=as_json,
    )


def _waits(option: str) -> list[str]:
    return [
        "IT SIGNS NOTHING YET: what was revoked after the backup is not in it",
        "Next: bring the newest crl.pem of several receivers: handfast ca recover --crl FILE"
        f"{option}",
        f"  Or distrust all that was issued before: handfast ca recover --retire{option}",
        "Never start the CA that was lost again beside it",
    ]


def _refuse_what_is_there(directory: Path, ledger: LedgerPlace | None) -> None:
    if ledger is not None and not ledger.is_shared:
        raise StateError(
            "a restore puts the ledger into the new folder or into a database, and "
            f"{LEDGER_VARIABLE} or --ledger names another place",
            remedy=f"Unset {LEDGER_VARIABLE}, or name an empty database of PostgreSQL",
        )
    try:
        # What a restore that was killed has left is removed by this one.
        home = ca_directory(directory).name
        names = [name for name in os.listdir(directory) if not is_working_folder(name, home)]
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError(
            f"{quote_untrusted(directory)} can't be read: {error.strerror or error}"
        ) from error
    if names:
        raise StateError(
            f"{quote_untrusted(directory)} is not empty, and a restore replaces nothing: "
            f"{quote_untrusted(sorted(names)[0])} is there",
            remedy="Restore into a new folder: --dir NEW",
        )
