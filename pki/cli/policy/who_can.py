"""``handfast policy who-can``: who may call a method."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.authz import Grant, Policy
from pki.authz.analysis.queries import who_can
from pki.authz.suggestions import suggest_methods
from pki.cli.output import JsonOption, print_result
from pki.cli.policy.policy_file import (
    DEFAULT_POLICY,
    PolicyOption,
    errors_as_could_not_tell,
    read_policy_file,
    require_method,
    scopes_text,
)


def who_can_call(
    method: Annotated[str, typer.Argument(help="The method's path: /package.Service/Method.")],
    policy: PolicyOption = DEFAULT_POLICY,
    as_json: JsonOption = False,
) -> None:
    """Say who may call a method: exit 0 somebody, 1 nobody, 3 could not tell."""
    require_method(method)
    with errors_as_could_not_tell():
        read = read_policy_file(policy)
    able = who_can(read, method)
    lines = []
    for item in able:
        lines.append(f"{item.role} ({_places(read, item.grants)}){scopes_text(item.scopes)}")
        lines += [f"  {name.text} ({read.source}:{name.line})" for name in item.names]
    if not able:
        lines = [f"nobody may call {method}", *suggest_methods(read, method)]
    audited = read.enforcement.audited_at(method)
    if audited is not None:
        lines.append(
            f'and, with enforce = "audit" ({read.source}:{audited}), everybody goes through'
        )
    print_result(
        "policy who-can",
        {
            "method": method,
            "audited": audited is not None,
            "roles": [
                {
                    "role": item.role,
                    "names": [{"name": name.text, "line": name.line} for name in item.names],
                    "scopes": sorted(item.scopes),
                    "lines": [grant.line for grant in item.grants],
                }
                for item in able
            ],
        },
        lines,
        as_json=as_json,
    )
    if not able and audited is None:
        raise typer.Exit(1)


def _places(policy: Policy, grants: tuple[Grant, ...]) -> str:
    return ", ".join(f"{policy.source}:{grant.line}" for grant in grants)
