"""``handfast audit show``."""

from __future__ import annotations

import json
from collections import deque
from datetime import timedelta
from typing import Annotated

import typer

from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.cli.options import DEFAULT_DIR, DirOption, parse_lifetime
from pki.cli.output import JsonOption, print_error, print_result, print_table
from pki.cli.state.authority import open_to_show
from pki.errors import counted, quote_untrusted
from pki.identity import SpiffeId

_SERIAL_SHOWN = 12
_REASON_SHOWN = 60


def show(
    action: Annotated[
        AuditAction | None, typer.Option("--action", help="Only entries of this kind.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Only entries about this workload: orders, or a SPIFFE ID."),
    ] = None,
    since: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_lifetime, metavar="TIME", help="Only entries of the last 24h, 30m, ..."
        ),
    ] = None,
    last: Annotated[
        int | None, typer.Option("--last", min=1, metavar="N", help="Only the last N of these.")
    ] = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show the entries of the audit log, oldest first. This verifies nothing."""
    with open_to_show(directory) as authority:
        domain = authority.trust_domain
        subject = str(SpiffeId.parse_name(name, domain)) if name is not None else None
        begin = authority.now() - since if since is not None else None
        entries = deque(
            (
                (index, entry)
                for index, entry in authority.audit_entries()
                if (action is None or entry.action is action)
                and (subject is None or entry.subject == subject)
                and (begin is None or entry.at >= begin)
            ),
            maxlen=last,
        )
    if as_json:
        rows = [{"index": index, **json.loads(entry.to_text())} for index, entry in entries]
        print_result("audit show", {"entries": rows}, [], as_json=True)
        return
    if not entries:
        about = f" about {quote_untrusted(name)[1:-1]}" if name is not None else " of that kind"
        print_error(
            f"note: no entry is{about}" + (" in that time" if since is not None else ""),
            "See all of them: handfast audit show",
        )
        return
    prefix = f"spiffe://{domain}/"
    print_table(
        f"{counted(len(entries), 'entry', 'entries')} of {domain}",
        ("entry", "time (UTC)", "what", "about", "serial", "by", "why"),
        [
            (
                str(index),
                f"{entry.at:%Y-%m-%d %H:%M:%S}",
                entry.action.value,
                (entry.subject or "").removeprefix(prefix),
                (entry.serial or "")[:_SERIAL_SHOWN],
                entry.actor.name.removeprefix(prefix),
                _why(entry),
            )
            for index, entry in entries
        ],
    )


def _why(entry: AuditEntry) -> str:
    asked = entry.details.get("asked")
    why = f"{asked}: {entry.reason}" if asked is not None else entry.reason or ""
    return why if len(why) <= _REASON_SHOWN else why[: _REASON_SHOWN - 3] + "..."
