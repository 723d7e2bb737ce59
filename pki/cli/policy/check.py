"""``handfast policy check``, ``lint`` and ``test``: whether a policy is what it should be."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pki.authz.analysis.expectations import (
    MAX_BYTES,
    ExpectationResult,
    check_expectations,
    read_expectations,
)
from pki.authz.analysis.lint import Severity, lint
from pki.authz.patterns import format_method
from pki.cli.output import JsonOption, tell
from pki.cli.policy.contracts import read_contracts
from pki.cli.policy.reading import DEFAULT_POLICY, could_not_tell, not_enforced, read_policy_file
from pki.errors import PolicyError, quote_untrusted
from pki.files import read_bounded


class FailOn(StrEnum):
    """From which severity on the exit code is 1."""

    WARNING = "warning"
    ERROR = "error"


def check(
    file: Annotated[Path, typer.Argument(help="The policy file.")], as_json: JsonOption = False
) -> None:
    """Check a policy file against its schema."""
    policy = read_policy_file(file)
    rules = policy.rules
    roles = len({rule.role for rule in rules.roles})
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
            *not_enforced(policy),
        ],
        as_json=as_json,
    )


def lint_policy(
    file: Annotated[Path, typer.Argument(help="The policy file.")] = DEFAULT_POLICY,
    proto: Annotated[
        list[Path] | None, typer.Option(help="A .proto file, or a folder of them.")
    ] = None,
    include: Annotated[
        list[Path] | None,
        typer.Option(help="A root that imports in .proto files are found below."),
    ] = None,
    descriptor_set: Annotated[
        list[Path] | None, typer.Option(help="A compiled FileDescriptorSet.")
    ] = None,
    fail_on: Annotated[
        FailOn, typer.Option(help="From which severity on the exit code is 1.")
    ] = FailOn.WARNING,
    as_json: JsonOption = False,
) -> None:
    """Find what does nothing, or not what it seems to: exit 0 clean, 1 findings, 3 no answer."""
    with could_not_tell():
        policy = read_policy_file(file)
        contracts = read_contracts(proto or [], include or [], descriptor_set or [])
    found = lint(policy, contracts)
    lines = [
        f"{file}{f':{item.line}' if item.line else ''}: {item.severity.value} {item.code}: "
        f"{item.message}. {item.remedy}"
        for item in found
    ]
    tell(
        "policy lint",
        {
            "file": file,
            "findings": [
                {
                    "line": item.line,
                    "code": item.code,
                    "severity": item.severity.value,
                    "words": item.message,
                    "remedy": item.remedy,
                }
                for item in found
            ],
        },
        lines or [f"{file}: nothing found"],
        as_json=as_json,
    )
    if any(item.severity is Severity.ERROR or fail_on is FailOn.WARNING for item in found):
        raise typer.Exit(1)


def check_expected(
    file: Annotated[Path, typer.Argument(help="The file of expectations.")],
    policy: Annotated[
        Path | None, typer.Option(help="Another policy than the one that the file names.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold a policy against the expectations beside it: exit 0 met, 1 not, 3 no answer."""
    with could_not_tell():
        try:
            data, _ = read_bounded(file, max_bytes=MAX_BYTES)
        except FileNotFoundError:
            raise PolicyError("is not there", source=str(file)) from None
        expectations = read_expectations(data, source=str(file))
        used = read_policy_file(policy or file.parent / expectations.policy)
        results = check_expectations(used, expectations, source=str(file))
    failed = [item for item in results if item.mismatches]
    lines = [line for item in failed for line in _lines(file, item)]
    lines.append(
        f"{len(results)} expectations of {used.source}, {len(results) - len(failed)} met, "
        f"{len(failed)} not"
    )
    tell(
        "policy test",
        {
            "file": file,
            "policy": used.source,
            "expectations": len(results),
            "failed": [
                {
                    "line": item.expectation.line,
                    "peer": item.expectation.peer,
                    "method": item.expectation.method,
                    "serves": item.expectation.serves,
                    "wrong": list(item.mismatches),
                    "steps": list(item.steps),
                }
                for item in failed
            ],
            "enforcement": used.enforcement.audited_summary(),
        },
        [*lines, *not_enforced(used)],
        as_json=as_json,
    )
    if failed:
        raise typer.Exit(1)


def _lines(file: Path, result: ExpectationResult) -> list[str]:
    item = result.expectation
    what = item.method if item.method is not None else f"answering {item.serves}"
    why = f" ({quote_untrusted(item.why)})" if item.why else ""
    return [
        f"{file}:{item.line}: {quote_untrusted(item.peer)}, {quote_untrusted(what)}: "
        f"{'; '.join(result.mismatches)}{why}",
        *(f"    {step}" for step in result.steps),
    ]
