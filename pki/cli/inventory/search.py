"""``handfast search``."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli.inventory.filters import AllOption, facts_of, print_rows, selection_of
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.errors import counted


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
        int, typer.Option("--limit", min=1, help="So many at most, the newest.")
    ] = 100,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Find certificates by a part of a name, or by the beginning of a number."""
    if not text:
        raise typer.BadParameter("say what to look for")
    with open_authority(directory, read_only=True) as authority:
        # One more, to see whether there is more.
        selection = selection_of(authority, text=text, everything=everything, limit=limit + 1)
        rows = list(authority.inventory(selection))
    has_more = len(rows) > limit
    rows = rows[:limit][::-1]
    if as_json:
        facts = {"text": text, "certificates": list(map(facts_of, rows)), "more": has_more}
        print_result("search", facts, [], as_json=True)
        return
    title = counted(len(rows), "certificate")
    if has_more:
        title = f"The newest {title}; --limit shows more"
    print_rows(rows, title, authority.trust_domain.name)
