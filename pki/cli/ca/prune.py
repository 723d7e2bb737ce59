"""``handfast ca prune``: remove certificates that ended long ago from the ledger."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import typer

from pki.authority.pruning.prune import DEFAULT_KEEP, START, PruneBounds, parse_keep, prune_step
from pki.cli.options import DEFAULT_DIR, DirOption, as_option
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.cli.state.key_access import PassphraseFileOption
from pki.errors import counted

_MUCH_LATER = timedelta(days=2)


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
        bounds, now = PruneBounds.settled(authority.context, keep), authority.now()
        cursor: tuple[int, int] | None = None if bounds is None else START
        while bounds is not None and cursor is not None:
            step = prune_step(authority.context, bounds, cursor)
            certificates, lines = certificates + step.certificates, lines + step.lines
            cursor = step.cursor
    horizon = None if bounds is None else bounds.horizon
    print_result(
        "ca prune",
        {"certificates": certificates, "lines": lines, "ended_before": horizon},
        _describe(certificates, bounds, now),
        as_json=as_json,
    )


def _describe(certificates: int, bounds: PruneBounds | None, now: datetime) -> list[str]:
    if bounds is None:
        return [
            "Pruned nothing: no entry of the audit log is an hour old, so nothing shows that the "
            "clock is right"
        ]
    lines = [
        f"Pruned {counted(certificates, 'certificate')} that ended before "
        f"{bounds.horizon:%Y-%m-%d %H:%M:%S} UTC"
    ]
    if now - bounds.now > _MUCH_LATER:
        lines.append(
            f"This clock says {now:%Y-%m-%d %H:%M:%S} UTC, and the audit log's newest entry that "
            f"is an hour old is of {bounds.now:%Y-%m-%d %H:%M:%S} UTC. Only that time is believed: "
            "if the clock is right, the rest is pruned once the log has newer entries"
        )
    if certificates:
        lines.append(
            "The audit log says so, and still tells of each. The ledger's file keeps its size: the "
            "room in it is used again"
        )
    return lines
