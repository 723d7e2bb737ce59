"""``handfast docs``: the documentation that belongs to this version."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pki.cli.doc_pages import complete_topic, list_lines, read_page, read_titles
from pki.cli.output import (
    JsonOption,
    console_for,
    escape_unencodable,
    output_errors_reported,
    print_result,
)


def docs(
    topic: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete_topic,
            help="A page, e.g. policy, or a failure, e.g. expired; without one, list them.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a page of the documentation of this version."""
    if topic is None:
        titles = read_titles()
        print_result("docs", {"topics": titles}, list_lines(titles), as_json=as_json)
        return
    name, text = read_page(topic)
    if as_json:
        print_result("docs", {"topic": name, "text": text}, [], as_json=True)
    elif sys.stdout.isatty():
        from rich.markdown import Markdown  # noqa: PLC0415 - loaded for a terminal alone

        with output_errors_reported():
            console_for(sys.stdout).print(Markdown(text))
    else:
        escape_unencodable(sys.stdout)
        with output_errors_reported():
            sys.stdout.write(text)
