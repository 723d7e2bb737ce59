"""``handfast policy lint``: finds rules without effect, or with a misleading one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pki.authz.analysis.lint import Severity, lint
from pki.cli.output import JsonOption, print_result
from pki.cli.policy.contracts import read_contracts
from pki.cli.policy.policy_file import DEFAULT_POLICY, errors_as_could_not_tell, read_policy_file


class FailOn(StrEnum):
    """The least severity that gives exit code 1."""

    WARNING = "warning"
    ERROR = "error"


def lint_policy(
    file: Annotated[Path, typer.Argument(help="The policy file.")] = DEFAULT_POLICY,
    proto: Annotated[
        list[Path] | None, typer.Option(help="A .proto file, or a folder of them.")
    ] = None,
    include: Annotated[
        list[Path] | None,
        typer.Option(help="A folder in which imports of .proto files are searched."),
    ] = None,
    descriptor_set: Annotated[
        list[Path] | None, typer.Option(help="A compiled FileDescriptorSet.")
    ] = None,
    fail_on: Annotated[
        FailOn, typer.Option(help="The least severity that gives exit code 1.")
    ] = FailOn.WARNING,
    as_json: JsonOption = False,
) -> None:
    """Find rules without effect, or that mislead: exit 0 none, 1 findings, 3 no answer."""
    with errors_as_could_not_tell():
        policy = read_policy_file(file)
        contracts = read_contracts(proto or [], include or [], descriptor_set or [])
    findings = lint(policy, contracts)
    lines = [
        f"{file}{f':{item.line}' if item.line else ''}: {item.severity.value} {item.code}: "
        f"{item.message}. {item.remedy}"
        for item in findings
    ]
    print_result(
        "policy lint",
        {
            "file": file,
            "findings": [
                {
                    "line": item.line,
                    "code": item.code,
                    "severity": item.severity.value,
                    "message": item.message,
                    "remedy": item.remedy,
                }
                for item in findings
            ],
        },
        lines or [f"{file}: nothing found"],
        as_json=as_json,
    )
    if any(item.severity is Severity.ERROR or fail_on is FailOn.WARNING for item in findings):
        raise typer.Exit(1)
