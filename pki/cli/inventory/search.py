"""``handfast search``."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli.inventory.filters import (
    AllOption,
    facts_of,
    note_local,
    print_rows,
    selection_of,
    within,
)
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_to_show


def search(
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="A part of a SPIFFE ID or DNS name, or how a serial number or a key's SHA-256 "
            "begins.",
        ),
    ],
    everything: AllOption = False,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Only the newest, so many at most.")
    ] = 100,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Find certificates by a part of a name, or by the beginning of a number."""
    if not text:
        raise typer.BadParameter("say what to look for")
    note_local()
    with open_to_show(directory) as authority:
        # As other commands print and take the beginning of a number: 17392cb5..
        wanted = text.removesuffix("..") or text
        selection = selection_of(authority, text=wanted, everything=everything, limit=limit)
        rows, has_more = within(authority.inventory(selection), limit)
    if as_json:
        facts = {"text": text, "certificates": list(map(facts_of, rows)), "more": has_more}
        print_result("search", facts, [], as_json=True)
        return
    print_rows(rows, authority.trust_domain.name, has_more=has_more)
