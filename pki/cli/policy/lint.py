"""``handfast policy lint``: what in a policy does nothing, or not what it seems to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pki.authz.lint import Severity, lint
from pki.cli.output import JsonOption, print_result
from pki.cli.policy.contracts import read_contracts
from pki.cli.policy.policy_file import DEFAULT_POLICY, could_not_tell, read_policy_file


class FailOn(StrEnum):
    """From which severity on the exit code is 1."""

    WARNING = "warning"
    ERROR = "error"


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
        f"{item.words}. {item.remedy}"
        for item in found
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
                    "words": item.words,
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
