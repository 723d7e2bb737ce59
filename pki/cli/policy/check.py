"""``handfast policy check``: checks a policy file against its schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authz import read_policy
from pki.authz.patterns import format_method
from pki.cli.output import JsonOption, print_result
from pki.cli.policy.policy_file import (
    enforcement_warnings,
    errors_as_could_not_tell,
    read_policy_bytes,
)


def check(
    file: Annotated[Path, typer.Argument(help="The policy file.")], as_json: JsonOption = False
) -> None:
    """Check a policy file against its schema: exit 0 good, 1 bad, 3 it can't be read."""
    with errors_as_could_not_tell():
        data = read_policy_bytes(file)
    policy = read_policy(data, source=str(file))
    rules = policy.rules
    roles = len({rule.role for rule in rules.roles})
    print_result(
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
                    "methods": [format_method(pattern) for pattern in rule.methods],
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
            *enforcement_warnings(policy),
        ],
        as_json=as_json,
    )
