"""``handfast docs``: the documentation that belongs to this version."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated

import typer

from pki.cli.output import JsonOption, console_for, output_errors_reported, print_result
from pki.errors import InputError, quote_untrusted

# The wheel holds the pages beside this package; a checkout has them at its top.
_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "docs", _PACKAGE.parent / "docs")
_START = "quickstart"


def docs(
    topic: Annotated[
        str | None,
        typer.Argument(
            help="A page, e.g. policy, or a failure, e.g. expired; without one, list them."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a page of the documentation of this version."""
    pages = _pages()
    if topic is None:
        _list(pages, as_json=as_json)
        return
    name = topic.removeprefix("docs/").removesuffix(".md").strip("/")
    path = pages.get(name) or pages.get(f"failures/{name}")
    if path is None:
        close = difflib.get_close_matches(name, [*pages, *_failure_names(pages)], n=3)
        raise InputError(
            f"there is no page {quote_untrusted(topic)}",
            remedy=f"Is it {' or '.join(close)}?" if close else "List them with: handfast docs",
        )
    text = _text(path)
    if as_json:
        print_result("docs", {"topic": name, "text": text}, [], as_json=True)
    elif sys.stdout.isatty():
        from rich.markdown import Markdown  # noqa: PLC0415 - loaded for a terminal alone

        with output_errors_reported():
            console_for(sys.stdout).print(Markdown(text))
    else:
        with output_errors_reported():
            sys.stdout.write(text)


def _pages() -> dict[str, Path]:
    """Return the pages by topic."""
    folder = next((item for item in _FOLDERS if item.is_dir()), None)
    if folder is None:
        raise InputError(
            "the documentation is not installed",
            remedy="Install handfast from its wheel, or read docs/ in its source",
        )
    pages = {
        path.relative_to(folder).with_suffix("").as_posix().removesuffix("/README"): path
        for path in sorted(folder.rglob("*.md"))
    }
    # The reasons for the code's design are for those who change it.
    return {name: path for name, path in pages.items() if name.partition("/")[0] != "adr"}


def _failure_names(pages: dict[str, Path]) -> list[str]:
    return [name.partition("/")[2] for name in pages if name.startswith("failures/")]


def _list(pages: dict[str, Path], *, as_json: bool) -> None:
    titles = {name: _title(path) for name, path in pages.items()}
    topics = {name: title for name, title in titles.items() if "/" not in name}
    width = max(map(len, topics))
    lines = [f"  {name:<{width}}  {title}" for name, title in topics.items()]
    lines += [
        "",
        f"Read one with: handfast docs {_START}",
        "A failure has a page too, e.g. handfast docs expired. Their names: "
        + ", ".join(_failure_names(pages)),
    ]
    print_result("docs", {"topics": titles}, lines, as_json=as_json)


def _title(path: Path) -> str:
    return _text(path).partition("\n")[0].removeprefix("#").strip()


def _text(path: Path) -> str:
    """Return a page, without the note for those who would change it."""
    text = path.read_text(encoding="utf-8")
    return text.partition("-->")[2].lstrip() if text.startswith("<!--") else text
