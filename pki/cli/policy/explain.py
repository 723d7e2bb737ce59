"""``handfast policy explain``, ``who-can`` and ``what-can``: questions on a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authz import Grant, Policy, Principal, explain
from pki.authz.analysis.expectations import workload_principal
from pki.authz.analysis.queries import format_methods, what_can, who_can
from pki.authz.patterns import parse_method_path
from pki.authz.suggestions import suggest_methods, suggest_names
from pki.cli.output import JsonOption, tell
from pki.cli.policy.reading import (
    DEFAULT_POLICY,
    PolicyOption,
    could_not_tell,
    not_enforced,
    read_policy_file,
)
from pki.errors import InputError, quote_untrusted

_PEER = "The peer: a workload's name or SPIFFE ID."


def explain_call(
    peer: Annotated[str, typer.Option(help=_PEER)],
    method: Annotated[
        str | None, typer.Option(help="The method's path: /package.Service/Method.")
    ] = None,
    serves: Annotated[
        str | None, typer.Option(help="Or the service that it answers: package.Service.")
    ] = None,
    policy: PolicyOption = DEFAULT_POLICY,
    as_json: JsonOption = False,
) -> None:
    """Say why a peer may or may not call a method: exit 0 allowed, 1 refused, 3 could not tell."""
    if (method is None) == (serves is None):
        raise typer.BadParameter("name either a method or a service that it serves")
    read, principal = _read(policy, peer)
    if serves is not None:
        _explain_serving(read, principal, serves, as_json=as_json)
        return
    assert method is not None
    explained = explain(read, principal, method)
    tell(
        "policy explain",
        {"peer": str(principal.spiffe_id), **explained.to_json()},
        [str(principal.spiffe_id), *(f"  {line}" for line in explained.lines())],
        as_json=as_json,
    )
    if not explained.decision.allowed:
        raise typer.Exit(1)


def _explain_serving(policy: Policy, principal: Principal, serves: str, *, as_json: bool) -> None:
    decision = policy.decide_served_by(principal, serves)
    matches = policy.roles_of(principal)
    lines = [
        f"{item.pattern} gives the role {item.role} ({policy.source}:{item.line})"
        for item in matches
    ]
    lines = lines or ["no name of this peer is listed under any role"]
    if decision.rule:
        wanted = next(item for item in policy.rules.served_by if item.service == serves)
        lines.append(f"{decision.rule} wants the role {wanted.role} for {serves}")
    else:
        lines.append(
            f"no served_by names {quote_untrusted(serves)}: a client refuses every server of it"
        )
    lines.append(f"{'allowed' if decision.allowed else 'refused'}: {decision.reason.value}")
    tell(
        "policy explain",
        {
            "peer": str(principal.spiffe_id),
            "serves": serves,
            "allowed": decision.allowed,
            "reason": decision.reason.value,
            "roles": list(decision.roles),
            "rule": decision.rule,
            "line": decision.line,
        },
        [str(principal.spiffe_id), *(f"  {line}" for line in lines)],
        as_json=as_json,
    )
    if not decision.allowed:
        raise typer.Exit(1)


def who_can_call(
    method: Annotated[str, typer.Argument(help="The method's path: /package.Service/Method.")],
    policy: PolicyOption = DEFAULT_POLICY,
    as_json: JsonOption = False,
) -> None:
    """Say who may call a method: exit 0 somebody, 1 nobody, 3 could not tell."""
    with could_not_tell():
        read = read_policy_file(policy)
        if parse_method_path(method) is None:
            raise InputError(
                f"{quote_untrusted(method)} is no method's path",
                remedy="Write /package.Service/Method",
            )
    able = who_can(read, method)
    lines = []
    for item in able:
        lines.append(f"{item.role} ({_places(read, item.grants)}){_scopes(item.scopes)}")
        lines += [f"  {name.text} ({read.source}:{name.line})" for name in item.names]
    if not able:
        lines = [f"nobody may call {method}", *suggest_methods(read, method)]
    audited = read.enforcement.audited_at(method)
    if audited is not None:
        lines.append(
            f'and, with enforce = "audit" ({read.source}:{audited}), everybody goes through'
        )
    tell(
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


def what_can_call(
    peer: Annotated[str, typer.Argument(help=_PEER)],
    policy: PolicyOption = DEFAULT_POLICY,
    as_json: JsonOption = False,
) -> None:
    """Say what a peer may call and answer: exit 0 something, 1 nothing, 3 could not tell."""
    read, principal = _read(policy, peer)
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
        f"({read.source}:{grant.line}){_scopes(grant.scopes)}"
        for grant in ability.grants
    ]
    lines += [
        f"  may answer {item.service} as {item.role} ({read.source}:{item.line})"
        for item in ability.serves
    ]
    lines += [f"  {line}" for line in not_enforced(read)]
    tell(
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


def _read(path: Path, peer: str) -> tuple[Policy, Principal]:
    with could_not_tell():
        policy = read_policy_file(path)
        return policy, workload_principal(policy, peer)


def _places(policy: Policy, grants: tuple[Grant, ...]) -> str:
    return ", ".join(f"{policy.source}:{grant.line}" for grant in grants)


def _scopes(scopes: frozenset[str]) -> str:
    return f" with {' '.join(sorted(scopes))}" if scopes else ""
