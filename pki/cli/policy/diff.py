"""``handfast policy diff``: what a new policy changes, also for recorded calls."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from pki.authz.analysis.replay import (
    MAX_LINE_LENGTH,
    DecisionChange,
    RecordedCalls,
    diff_statements,
    read_decision_log,
    replay,
)
from pki.cli.output import JsonOption, print_result
from pki.cli.policy.policy_file import (
    enforcement_warnings,
    errors_as_could_not_tell,
    read_policy_file,
)
from pki.errors import InputError, StateError, quote_untrusted
from pki.files.atomic import open_regular

_MOST_LINES = 50


def diff(
    old: Annotated[Path, typer.Argument(help="The policy in force.")],
    new: Annotated[Path, typer.Argument(help="The policy that may follow it.")],
    calls: Annotated[
        Path | None,
        typer.Option(
            help="Recorded decisions (see: handfast docs decision-log); - reads standard input."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a new policy changes: exit 0 nothing, 1 something, 3 could not tell."""
    with errors_as_could_not_tell():
        before, after = read_policy_file(old), read_policy_file(new)
        recorded = _recorded(calls) if calls is not None else None
    written = diff_statements(before, after)
    lines = [f"- {item}" for item in written.removed] + [f"+ {item}" for item in written.added]
    if not lines:
        lines = ["The two policies say the same"]
    data: dict[str, object] = {
        "old": old,
        "new": new,
        "removed": written.removed,
        "added": written.added,
    }
    changes: tuple[DecisionChange, ...] = ()
    if recorded is not None:
        changes = replay(before, after, recorded)
        lines += ["", *_lines(changes, recorded)]
        data |= {
            "calls": _recorded_json(recorded),
            "changes": [_change_json(item) for item in changes],
        }
    lines += [f"{new}: {line}" for line in enforcement_warnings(after)]
    print_result("policy diff", data, lines, as_json=as_json)
    if changes or (recorded is None and (written.removed or written.added)):
        raise typer.Exit(1)


def _recorded(path: Path) -> RecordedCalls:
    if str(path) == "-":
        return _checked(read_decision_log(_read_lines(sys.stdin.buffer)), "standard input")
    try:
        with open_regular(path) as file:
            return _checked(read_decision_log(_read_lines(file)), quote_untrusted(path))
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
    except OSError as error:
        raise StateError(f"{quote_untrusted(path)} can't be read: {error.strerror}") from None


def _checked(recorded: RecordedCalls, name: str) -> RecordedCalls:
    """Refuse a file without any line of a decision log: "nothing changes" would mislead."""
    if recorded.lines == 0:
        raise InputError(
            f"{name} holds no line of a decision log",
            remedy="Give the file that decision_log writes to; see: handfast docs decision-log",
        )
    return recorded


def _read_lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines; of a line that is too long, only enough to show that it is."""
    while line := file.readline(MAX_LINE_LENGTH + 1):
        whole = line
        while not whole.endswith(b"\n") and (whole := file.readline(MAX_LINE_LENGTH + 1)):
            line = line[: MAX_LINE_LENGTH + 1] + b"+"
        yield line.decode("utf-8", "replace")


def _lines(changes: tuple[DecisionChange, ...], recorded: RecordedCalls) -> list[str]:
    refused = [item for item in changes if item.newly_refused]
    allowed = [item for item in changes if not item.newly_refused]
    lines = []
    for change, items in (("newly refused", refused), ("newly let through", allowed)):
        count = sum(item.times.count for item in items)
        lines.append(f"{len(items)} kinds of calls would be {change}, {count} of those recorded")
        lines += [f"  {_line(item)}" for item in items[:_MOST_LINES]]
        if len(items) > _MOST_LINES:
            lines.append(f"  and {len(items) - _MOST_LINES} more")
    count = sum(times.count for times in recorded.calls.values())
    lines.append(
        f"{count} recorded calls of {len(recorded.calls)} kinds were replayed; "
        f"{recorded.refused_before_policy} were refused before a policy was asked, "
        f"{recorded.suppressed} were "
        "left out of the log by its limit"
    )
    if recorded.invalid:
        lines.append(
            f"{recorded.invalid} lines are no lines of a decision log: "
            f"{', '.join(map(str, recorded.invalid_lines))}"
        )
    return lines


def _line(item: DecisionChange) -> str:
    return (
        f"{quote_untrusted(item.call.peer)} {quote_untrusted(item.call.method)}: "
        f"{item.times.count} times, {quote_untrusted(item.times.first)} to "
        f"{quote_untrusted(item.times.last)}; {item.old.reason.value} -> {item.new.reason.value}"
    )


def _recorded_json(recorded: RecordedCalls) -> dict[str, object]:
    return {
        "replayed": sum(times.count for times in recorded.calls.values()),
        "kinds": len(recorded.calls),
        "refused_before_policy": recorded.refused_before_policy,
        "suppressed": recorded.suppressed,
        "invalid": recorded.invalid,
        "invalid_lines": recorded.invalid_lines,
    }


def _change_json(item: DecisionChange) -> dict[str, object]:
    return {
        "peer": item.call.peer,
        "method": item.call.method,
        "refused": item.newly_refused,
        "count": item.times.count,
        "first": item.times.first,
        "last": item.times.last,
        "old": item.old.reason.value,
        "new": item.new.reason.value,
        "rule": item.new.rule or item.old.rule,
    }
