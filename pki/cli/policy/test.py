"""``handfast policy test``: whether a policy decides as the file of expectations says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authz.analysis.expectations import (
    MAX_BYTES,
    ExpectationResult,
    check_expectations,
    read_expectations,
)
from pki.cli.output import JsonOption, print_result
from pki.cli.policy.policy_file import (
    enforcement_warnings,
    errors_as_could_not_tell,
    read_policy_file,
)
from pki.errors import PolicyError, quote_untrusted
from pki.files import read_bounded


def check_expected(
    file: Annotated[Path, typer.Argument(help="The file of expectations.")],
    policy: Annotated[
        Path | None,
        typer.Option(help="The policy to test, instead of the one that the file names."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Test a policy against a file of expectations: exit 0 met, 1 not met, 3 no answer."""
    with errors_as_could_not_tell():
        try:
            data, _ = read_bounded(file, max_bytes=MAX_BYTES)
        except FileNotFoundError:
            raise PolicyError("is not there", source=str(file)) from None
        expectations = read_expectations(data, source=str(file))
        tested = read_policy_file(policy or file.parent / expectations.policy)
        results = check_expectations(tested, expectations, source=str(file))
    failed = [item for item in results if item.mismatches]
    lines = [line for item in failed for line in _lines(file, item)]
    lines.append(
        f"{len(results)} expectations of {tested.source}, {len(results) - len(failed)} met, "
        f"{len(failed)} not"
    )
    print_result(
        "policy test",
        {
            "file": file,
            "policy": tested.source,
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
            "enforcement": tested.enforcement.audited_summary(),
        },
        [*lines, *enforcement_warnings(tested)],
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
