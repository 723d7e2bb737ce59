"""``handfast ca prune``: remove certificates that ended long ago from the ledger."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from pki.authority.pruning.prune import DEFAULT_KEEP, START, parse_keep, prune_step
from pki.cli.options import DEFAULT_DIR, DirOption, as_option
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.cli.state.key_access import PassphraseFileOption
from pki.errors import counted


def prune(
    keep: Annotated[
        timedelta,
        typer.Option(
            parser=as_option(parse_keep),
            metavar="TIME",
            show_default="30d",
            help="How long after its end a certificate is kept: 24h or more.",
        ),
    ] = DEFAULT_KEEP,
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Remove certificates that ended long ago from the ledger; ca serve does so by itself."""
    certificates = lines = 0
    with open_authority(directory, passphrase_file=passphrase_file) as authority:
        horizon = authority.now() - keep
        cursor: tuple[int, int] | None = START
        while cursor is not None:
            step = prune_step(authority.context, horizon, cursor)
            certificates, lines = certificates + step.certificates, lines + step.lines
            cursor = step.cursor
    print_result(
        "ca prune",
        {"certificates": certificates, "lines": lines, "ended_before": horizon},
        [
            f"Pruned {counted(certificates, 'certificate')} that ended before "
            f"{horizon:%Y-%m-%d %H:%M:%S} UTC",
            "The audit log says so, and still tells of each. The ledger's file keeps its size: the "
            "room in it is used again",
        ],
        as_json=as_json,
    )
