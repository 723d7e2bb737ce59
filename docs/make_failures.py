"""Makes ``docs/failures/`` from the table in ``pki.failures``: a page for each, and an index.

With ``--check`` it writes nothing, and names each page that differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pki.failures import FAILURES, SIGNS, Failure

HOME = Path(__file__).resolve().parent / "failures"
_NOTE = "<!-- Made by docs/make_failures.py from pki/failures: change those, not this. -->\n"


def pages() -> dict[str, str]:
    """Return every page by its file name."""
    made = {f"{item.slug}.md": _page(item) for item in FAILURES.values()}
    made["README.md"] = _index()
    return made


def _index() -> str:
    rows = [
        f"| [{item.slug}]({item.slug}.md) | {item.title} | {_code(item.handshake_result)} |"
        for item in FAILURES.values()
    ]
    lines = [
        _NOTE,
        "# Failures of mutual TLS",
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


def _page(failure: Failure) -> str:
    lines = [
        _NOTE,
        f"# {failure.title[0].upper()}{failure.title[1:]}",
        "",
        f"`{failure.slug}`"
        + (f", result name `{failure.handshake_result}`" if failure.handshake_result else ""),
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


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, name what differs")
    check = parser.parse_args().check
    made = pages()
    there = {path.name for path in HOME.glob("*.md")}
    differing = sorted(there - set(made)) + sorted(
        name
        for name, text in made.items()
        if name not in there or (HOME / name).read_text(encoding="utf-8") != text
    )
    if check:
        for name in differing:
            sys.stderr.write(f"docs/failures/{name} differs: run python docs/make_failures.py\n")
        return 1 if differing else 0
    HOME.mkdir(exist_ok=True)
    for name in there - set(made):
        (HOME / name).unlink()
    for name, text in made.items():
        (HOME / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
