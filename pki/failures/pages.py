"""A page for each failure, made from the table, and an index of them: Markdown.

``handfast docs`` prints them. ``docs/failures/`` holds the same for readers of the repository.
"""

from __future__ import annotations

from pki.failures.failure import Failure
from pki.failures.signs import SIGNS
from pki.failures.table import FAILURES

INDEX_TITLE = "Failures of mutual TLS"


def title_of(failure: Failure) -> str:
    """Return the title of a failure's page."""
    return f"{failure.title[0].upper()}{failure.title[1:]}"


def make_index() -> str:
    """Return the page that lists all failures."""
    rows = [
        f"| [{item.slug}]({item.slug}.md) | {item.title} | {_code(item.handshake_result)} |"
        for item in FAILURES.values()
    ]
    lines = [
        f"# {INDEX_TITLE}",
        "",
        "What each program writes of a failure, what it means, and what to do.",
        "`handfast explain TEXT` names the failure for a line of a log; `handfast doctor TARGET`",
        "finds out which it is.",
        "",
        "| failure | meaning | result name |",
        "| --- | --- | --- |",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def make_page(failure: Failure) -> str:
    """Return the page of a failure: its cause, its remedy, and how programs report it."""
    result = f", result name `{failure.handshake_result}`" if failure.handshake_result else ""
    lines = [
        f"# {title_of(failure)}",
        "",
        f"`{failure.slug}`{result}",
        "",
        f"**Cause.** {failure.cause}",
        "",
        f"**Remedy.** {failure.remedy}",
        "",
    ]
    signs = [item for item in SIGNS if failure.slug in item.slugs]
    sure = [item for item in signs if item.is_sure]
    others = [item for item in signs if not item.is_sure]
    if sure:
        lines += ["## How programs report it", "", "| program | text |", "| --- | --- |"]
        lines += [f"| {item.party} | `{_cell(item.text)}` |" for item in sure]
        lines.append("")
    if others:
        lines += [
            "## Texts that may also mean another failure",
            "",
            "| program | text | other failures |",
            "| --- | --- | --- |",
        ]
        for item in others:
            rest = ", ".join(f"[{slug}]({slug}.md)" for slug in item.slugs if slug != failure.slug)
            lines.append(f"| {item.party} | `{_cell(item.text)}` | {rest} |")
        lines.append("")
    lines.append("[All failures](README.md)")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")
