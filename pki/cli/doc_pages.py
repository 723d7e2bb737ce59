"""The pages of the documentation of this version: found by topic, listed, and completed.

This needs no library of an extra, so that the core alone prints a page too.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from pki.errors import InputError, quote_untrusted

# The wheel holds the pages beside this package; a checkout has them at its top.
_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "docs", _PACKAGE.parent / "docs")
_FAILURES = "failures/"
_START = "quickstart"
_SIMILAR = 0.75  # below, a guess would not look like what was written


def find_pages() -> dict[str, Path]:
    """Return the pages by topic.

    Raises:
        InputError: if they are not installed.
    """
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


def read_page(topic: str) -> tuple[str, str]:
    """Return a page's name and text.

    Args:
        topic: a page's name, a failure's name, or a page's path.

    Raises:
        InputError: if there is no such page.
    """
    pages = find_pages()
    name = topic.removeprefix("docs/").removesuffix(".md").strip("/")
    path = pages.get(name) or pages.get(f"{_FAILURES}{name}")
    if path is None:
        close = difflib.get_close_matches(name, [*pages, *_failure_names(pages)], 3, _SIMILAR)
        raise InputError(
            f"there is no page {quote_untrusted(topic)}",
            remedy=f"Is it {' or '.join(close)}?" if close else "List them with: handfast docs",
        )
    return name, _text(path)


def read_titles() -> dict[str, str]:
    """Return the titles of the pages by topic.

    Raises:
        InputError: if they are not installed.
    """
    return {
        name: _text(path).partition("\n")[0].removeprefix("#").strip()
        for name, path in find_pages().items()
    }


def list_lines(titles: dict[str, str]) -> list[str]:
    """Return the list of all topics: the pages, then the failures, one a line.

    Args:
        titles: the titles of the pages by topic.
    """
    failures = {
        name.removeprefix(_FAILURES): title
        for name, title in titles.items()
        if name.startswith(_FAILURES)
    }
    topics = {name: title for name, title in titles.items() if "/" not in name}
    width = max(map(len, [*topics, *failures]), default=0)
    return [
        *(f"  {name:<{width}}  {title}" for name, title in topics.items()),
        "",
        "Failures:",
        *(f"  {name:<{width}}  {title}" for name, title in failures.items()),
        "",
        f"Read one with: handfast docs {_START}, or: handfast docs expired",
    ]


def complete_topic(incomplete: str) -> list[str]:
    """Return the topics that begin so: for the completion of the command line."""
    try:
        pages = find_pages()
    except (InputError, OSError):
        return []
    names = [*(name for name in pages if "/" not in name), *_failure_names(pages)]
    return [name for name in names if name.startswith(incomplete)]


def _failure_names(pages: dict[str, Path]) -> list[str]:
    return [name.removeprefix(_FAILURES) for name in pages if name.startswith(_FAILURES)]


def _text(path: Path) -> str:
    """Return a page, without the note for those who would change it."""
    text = path.read_text(encoding="utf-8")
    return text.partition("-->")[2].lstrip() if text.startswith("<!--") else text
