"""``handfast explain``: what an error text from the log of any program means, and what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from pki.cli.output import JsonOption, print_result
from pki.errors import InputError
from pki.failures import FAILURES, Failure, Match, recognise
from pki.failures.files import FILES
from pki.failures.recognise import MAX_TEXT

_CUT = (
    f"Only the first {MAX_TEXT} characters were read: give the lines about the failure alone, "
    "e.g. tail -n 200 LOG | handfast explain -"
)
# Of many causes, these are shown in full, and the rest by name.
_MOST_IN_FULL = 4
_TRY = "Try: handfast doctor TARGET --credential DIR, which tests the connection itself"
_TRY_FILES = "Try: handfast inspect FILE (or DIR), which says what the files hold"
_OF_FILES = {failure.slug for failure in FILES} | {"key-mismatch", "key-permissions"}


def explain(
    text: Annotated[
        str | None,
        typer.Argument(help="The text, or a failure's name; - or nothing reads standard input."),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List all failures by name.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what an error text means: exit 0 recognised, 1 not."""
    if listing:
        lines = _title_lines(FAILURES.values())
        data = {"failures": [_failure_json(item) for item in FAILURES.values()]}
        print_result("explain", data, lines, as_json=as_json)
        return
    text, truncated = _read_text(text)
    note = _CUT if truncated else ""
    if text.strip() in FAILURES:
        failure = FAILURES[text.strip()]
        print_result(
            "explain",
            {"matches": [_failure_json(failure)], "truncated": False},
            _failure_lines(failure),
            as_json=as_json,
        )
        return
    matches = recognise(text)
    if not matches:
        lines = [f"Not recognised. {note or _TRY}"]
        print_result("explain", {"matches": [], "truncated": truncated}, lines, as_json=as_json)
        raise typer.Exit(1)
    print_result(
        "explain",
        {"matches": [_match_json(item) for item in matches], "truncated": truncated},
        [*_match_lines(matches), *(["", note] if note else [])],
        as_json=as_json,
    )


def _read_text(text: str | None) -> tuple[str, bool]:
    """Return the text, and whether it is longer than what is read of it."""
    if text is not None and not text.strip():
        raise typer.BadParameter("the text is empty")
    if text is not None and text != "-":
        return text, len(text) > MAX_TEXT
    if text is None and sys.stdin.isatty():
        raise typer.BadParameter("give the text, or pipe it in")
    # A character has at most 4 bytes; one byte more shows that the text is longer.
    data = sys.stdin.buffer.read(4 * MAX_TEXT + 1)
    if not data.strip():
        if text is None:
            raise typer.BadParameter("give the text as an argument, or pipe it in")
        raise InputError("there is no text on standard input", remedy="Give it as an argument")
    # Windows writes logs in UTF-16.
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\0" in data[:8]
    text = data.decode("utf-16" if wide else "utf-8", "replace")
    return text, len(text) > MAX_TEXT or len(data) > 4 * MAX_TEXT


def _match_lines(matches: tuple[Match, ...]) -> list[str]:
    lines: list[str] = []
    for item in matches[:_MOST_IN_FULL]:
        lines += ["", *_failure_lines(item.failure), f"  Said by: {item.sign.party}"]
    rest = [f"  {line}" for line in _title_lines(item.failure for item in matches[_MOST_IN_FULL:])]
    if rest:
        lines += ["", "Or, less likely (handfast explain NAME says more):", *rest]
    if len(matches) > 1:
        lines.insert(0, "These fit, the likeliest first:")
    elif matches[0].sure:
        del lines[0]
    else:
        lines.insert(0, "This fits, and so may others:")
    if not matches[0].sure:
        of_files = all(item.failure.slug in _OF_FILES for item in matches[:_MOST_IN_FULL])
        hint = _TRY_FILES if of_files else _TRY
        lines += ["", f"The text alone can't tell which. {hint}"]
    return lines


def _title_lines(failures: Iterable[Failure]) -> list[str]:
    """Return a line for each failure, its name and its title, in two columns."""
    listed = list(failures)
    width = max((len(item.slug) for item in listed), default=0)
    return [f"{item.slug:<{width}}  {item.title}" for item in listed]


def _failure_lines(failure: Failure) -> list[str]:
    return [
        f"{failure.title} ({failure.slug})",
        f"  {failure.cause}",
        f"  Remedy: {failure.remedy}",
    ]


def _match_json(match: Match) -> dict[str, object]:
    return {
        **_failure_json(match.failure),
        "party": match.sign.party,
        "recognised_by": match.sign.text,
        "sure": match.sure,
    }


def _failure_json(failure: Failure) -> dict[str, object]:
    return {
        "failure": failure.slug,
        "title": failure.title,
        "cause": failure.cause,
        "remedy": failure.remedy,
        "result": failure.handshake_result,
    }
