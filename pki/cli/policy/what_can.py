"""``handfast policy what-can``: what a peer may call and answer."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.authz.analysis.queries import format_methods, what_can
from pki.authz.suggestions import suggest_names
from pki.cli.output import JsonOption, print_result
from pki.cli.policy.policy_file import (
    DEFAULT_POLICY,
    PEER_HELP,
    PolicyOption,
    enforcement_warnings,
    read_policy_and_peer,
    scopes_text,
)


def what_can_call(
    peer: Annotated[str, typer.Argument(help=PEER_HELP)],
    policy: PolicyOption = DEFAULT_POLICY,
    as_json: JsonOption = False,
) -> None:
    """Say what a peer may call and answer: exit 0 something, 1 nothing, 3 could not tell."""
    read, principal = read_policy_and_peer(policy, peer)
    ability = what_can(read, principal)
    lines = [str(principal.spiffe_id)]
    lines += [
        f"  {item.pattern} gives the role {item.role} ({read.source}:{item.line})"
        for item in ability.matches
    ]
    if not ability.matches:
        lines.append("  no name of this peer is listed under any role")
        lines += [f"  {line}" for line in suggest_names(read, principal)]
    lines += [
        f"  may call {', '.join(format_methods(grant.methods))} as {grant.role} "
        f"({read.source}:{grant.line}){scopes_text(grant.scopes)}"
        for grant in ability.grants
    ]
    lines += [
        f"  may answer {item.service} as {item.role} ({read.source}:{item.line})"
        for item in ability.serves
    ]
    lines += [f"  {line}" for line in enforcement_warnings(read)]
    print_result(
        "policy what-can",
        {
            "peer": str(principal.spiffe_id),
            "roles": [
                {"role": item.role, "pattern": item.pattern, "line": item.line}
                for item in ability.matches
            ],
            "grants": [
                {
                    "role": grant.role,
                    "methods": format_methods(grant.methods),
                    "scopes": sorted(grant.scopes),
                    "line": grant.line,
                }
                for grant in ability.grants
            ],
            "serves": [
                {"service": item.service, "role": item.role, "line": item.line}
                for item in ability.serves
            ],
            "enforcement": read.enforcement.audited_summary(),
        },
        lines,
        as_json=as_json,
    )
    if ability.is_empty:
        raise typer.Exit(1)
