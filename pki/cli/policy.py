"""``handfast policy``: check a policy file, and explain what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authz import MAX_POLICY_BYTES, Policy, Principal, explain, read_policy
from pki.authz.patterns import written_method
from pki.cli.issue import CouldNotTellError
from pki.cli.output import JsonOption, tell
from pki.errors import PkiError, PolicyError
from pki.files import read_bounded
from pki.identity import SpiffeId, derive_names

app = typer.Typer(no_args_is_help=True, help="Check a policy file, and explain what it says.")


@app.command(epilog="Example: handfast policy check policy.toml")
def check(
    file: Annotated[Path, typer.Argument(help="The policy file.")], as_json: JsonOption = False
) -> None:
    """Check a policy file against its schema."""
    policy = _read(file)
    rules = policy.rules
    roles = len({rule.role for rule in rules.roles})
    not_enforced = policy.enforcement.words()
    warning = [f"NOT ENFORCED for {not_enforced}: there, calls that no grant allows go through"]
    tell(
        "policy check",
        {
            "file": file,
            "trust_domain": policy.trust_domain.name,
            "roles": roles,
            "names": len(rules.roles),
            "grants": len(rules.grants),
            "served_by": len(rules.served_by),
            "enforce": rules.enforce.enforce.value,
            "enforcement": [
                {
                    "methods": [written_method(pattern) for pattern in rule.methods],
                    "enforce": rule.enforce.value,
                    "line": rule.line,
                }
                for rule in rules.enforcement
            ],
            "digest": policy.digest,
        },
        [
            f"{file} is good: {roles} roles with {len(rules.roles)} names, {len(rules.grants)} "
            f"grants, {len(rules.served_by)} services, for {policy.trust_domain}",
            *(warning if not_enforced else []),
        ],
        as_json=as_json,
    )


@app.command(
    "explain",
    epilog="Example: handfast policy explain --peer gateway --method /shop.v1.Orders/PlaceOrder",
)
def explain_call(
    peer: Annotated[str, typer.Option(help="The caller: a workload's name or SPIFFE ID.")],
    method: Annotated[str, typer.Option(help="The method's path: /package.Service/Method.")],
    policy: Annotated[Path, typer.Option(help="The policy file.")] = Path("policy.toml"),
    as_json: JsonOption = False,
) -> None:
    """Say why a peer may or may not call a method: exit 0 allowed, 1 refused, 3 could not tell."""
    try:
        read = _read(policy)
        spiffe_id = (
            SpiffeId.parse(peer) if "://" in peer else SpiffeId.of_path(read.trust_domain, peer)
        )
    except PkiError as error:
        raise CouldNotTellError(error) from error
    derived = derive_names(spiffe_id)
    dns = frozenset({derived.dns} if derived.dns else ())
    explained = explain(read, Principal(spiffe_id, dns, derived.subject), method)
    tell(
        "policy explain",
        {"peer": str(spiffe_id), **explained.to_json()},
        [str(spiffe_id), *(f"  {line}" for line in explained.lines())],
        as_json=as_json,
    )
    if not explained.decision.allowed:
        raise typer.Exit(1)


def _read(path: Path) -> Policy:
    try:
        data, _ = read_bounded(path, max_bytes=MAX_POLICY_BYTES)
    except FileNotFoundError:
        raise PolicyError("is not there", source=str(path)) from None
    return read_policy(data, source=str(path))
