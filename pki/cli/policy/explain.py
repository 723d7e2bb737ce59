"""``handfast policy explain``: why a peer may or may not call a method."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.authz import Policy, Principal, explain
from pki.authz.patterns import parse_service
from pki.cli.output import JsonOption, print_result
from pki.cli.policy.policy_file import (
    DEFAULT_POLICY,
    PEER_HELP,
    PolicyOption,
    read_policy_and_peer,
    require_method,
)
from pki.errors import InputError, quote_untrusted


def explain_call(
    peer: Annotated[str, typer.Option(help=PEER_HELP)],
    method: Annotated[
        str | None, typer.Option(help="The method's path: /package.Service/Method.")
    ] = None,
    serves: Annotated[
        str | None, typer.Option(help="Instead of --method: a service that the peer answers.")
    ] = None,
    policy: PolicyOption = DEFAULT_POLICY,
    as_json: JsonOption = False,
) -> None:
    """Say why a peer may or may not call a method: exit 0 allowed, 1 refused, 3 could not tell."""
    if (method is None) == (serves is None):
        raise typer.BadParameter("name either a method or a service that it serves")
    if method is not None:
        require_method(method)
    if serves is not None:
        try:
            parse_service(serves)
        except InputError as error:
            raise typer.BadParameter(str(error)) from None
    read, principal = read_policy_and_peer(policy, peer)
    if serves is not None:
        _explain_serving(read, principal, serves, as_json=as_json)
        return
    assert method is not None
    explained = explain(read, principal, method)
    print_result(
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
        lines.append(f"{decision.rule} requires the role {wanted.role} for {serves}")
    else:
        lines.append(
            f"no served_by names {quote_untrusted(serves)}: a client refuses every server of it"
        )
    lines.append(f"{'allowed' if decision.allowed else 'refused'}: {decision.reason.value}")
    print_result(
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
