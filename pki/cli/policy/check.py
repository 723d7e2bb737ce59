"""``handfast policy check``: checks a policy file against its schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authz.patterns import format_method
from pki.cli.output import JsonOption, print_result
from pki.cli.policy.policy_file import enforcement_warnings, read_policy_file


def check(
    file: Annotated[Path, typer.Argument(help="The policy file.")], as_json: JsonOption = False
) -> None:
    """Check a policy file against its schema."""
    policy = read_policy_file(file)
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
