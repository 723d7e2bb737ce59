"""Reports of ``handfast doctor`` for people: a line for each check, then the causes."""

from __future__ import annotations

import sys

from pki.cli.output import console_for
from pki.diagnosis import SERVER_TRUST, Finding, Report, Status
from pki.errors import quote_untrusted
from pki.failures import FAILURES

_MARKS = {
    Status.OK: ("ok", "green"),
    Status.WARNING: ("warning", "yellow"),
    Status.FAILED: ("FAILED", "red"),
    Status.UNKNOWN: ("?", "dim"),
}
_SUMMARIES = {Status.OK: "All well", Status.WARNING: "It works, with warnings"}
_UNVERIFIED = {Status.OK: "Nothing is wrong so far", Status.WARNING: "There are warnings"}
_MOST_LIKELY = 5


def print_report(report: Report) -> None:
    """Print a report on a server."""
    console = console_for(sys.stdout)
    print_findings(report.findings)
    print_causes(report)
    if report.causes:
        return
    if report.likely_causes:
        console.print(
            "  To be sure: handfast doctor --stand-in PORT --credential DIR with the server's own"
            " credential, or --server-credential DIR here",
            soft_wrap=True,
            highlight=False,
        )
    else:
        console.print(f"\n{_summarise(report)}: {quote_untrusted(report.target)}", highlight=False)


def _summarise(report: Report) -> str:
    summary = _SUMMARIES.get(report.status, "It fails")
    unverified = any(
        item.check == SERVER_TRUST and item.status is Status.UNKNOWN for item in report.findings
    )
    if unverified and report.status is not Status.FAILED:
        return f"{_UNVERIFIED[report.status]}, and the server was not verified (--bundle FILE)"
    return summary


def print_findings(findings: tuple[Finding, ...]) -> None:
    """Print a line for each finding; the likely causes of one check share a line."""
    console = console_for(sys.stdout)
    width = max((len(item.check) for item in findings), default=0)
    likely: dict[str, list[str]] = {}
    for item in findings:
        if not item.is_sure:
            likely.setdefault(item.check, []).append(item.failure or "")
    printed: set[str] = set()
    for item in findings:
        message = item.message
        if not item.is_sure:
            if item.check in printed:
                continue
            printed.add(item.check)
            message += f" (likely {' or '.join(likely[item.check][:3])})"
        mark, colour = _MARKS[item.status]
        console.print(f"{mark:>8}", style=colour, end="", highlight=False)
        line = f"  {item.check:<{width}}  {message}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def print_causes(report: Report) -> None:
    """Print the causes of a report with their remedies, the likely ones by rank."""
    console = console_for(sys.stdout)
    if report.causes:
        console.print()
        for item in report.causes:
            _print_cause("cause", item)
    if report.likely_causes:
        begin = "What else is wrong" if report.causes else "What is wrong"
        console.print()
        console.print(
            f"{begin} can't be observed from this side. The possible causes, the likeliest first:"
        )
        for number, item in enumerate(report.likely_causes[:_MOST_LIKELY], start=1):
            _print_cause(f"likely {number}", item)
        others = [item.failure or "" for item in report.likely_causes[_MOST_LIKELY:]]
        if others:
            console.print(f"less likely: {', '.join(others)}", highlight=False, soft_wrap=True)


def _print_cause(label: str, item: Finding) -> None:
    console = console_for(sys.stdout)
    assert item.failure is not None
    failure = FAILURES[item.failure]
    console.print(f"{label}: {failure.title} ({failure.slug})", highlight=False, markup=False)
    # The name of the check says whose fault it is.
    for line in (f"{item.check}: {item.message}", f"Remedy: {item.remedy or failure.remedy}"):
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
