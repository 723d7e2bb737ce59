"""``handfast ca join``: make this machine a replica of a CA."""

from __future__ import annotations

from pki.authority.replicas.joining import join_authority
from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.key_access import (
    ModuleOption,
    PassphraseFileOption,
    ca_passphrase,
    passphrase_remedy,
    token_access,
)
from pki.cli.state.ledger_place import LEDGER_VARIABLE, LedgerOption
from pki.errors import InputError


def join(
    ledger: LedgerOption = None,
    module: ModuleOption = None,
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make this machine a replica of a CA whose ledger is a database."""
    if ledger is None:
        raise InputError(
            "a replica needs the CA's database",
            remedy=f"Name it with --ledger postgresql://USER@HOST/DATABASE, or {LEDGER_VARIABLE}",
        )
    home = ca_directory(directory)
    with join_authority(
        home,
        ledger,
        passphrase=ca_passphrase(passphrase_file, is_needed=True),
        tokens=token_access(module),
        passphrase_remedy=passphrase_remedy(passphrase_file),
    ) as authority:
        domain = str(authority.trust_domain)
    print_result(
        "ca join",
        {"trust_domain": domain, "directory": str(home), "ledger": str(ledger)},
        [
            f"This machine is a replica of the CA of {domain}, in {quote_path(home)}",
            "Next: serve it here too, by the name that workloads know: handfast ca serve "
            "--advertise HOST:PORT --enroll-advertise HOST:PORT",
        ],
        as_json=as_json,
    )
