"""The pages of the documentation of this version: found by topic, listed, and completed.

This needs no library of an extra, so that the core alone prints a page too. The pages of failures
are made from the table in ``pki.failures``, so that no installation holds it twice.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path

from pki.errors import InputError, quote_untrusted

# The wheel holds the pages beside this package; a checkout has them at its top.
_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "docs", _PACKAGE.parent / "docs")
_FAILURES = "failures/"
_START = "quickstart"
_SIMILAR = 0.75  # below, a guess would not look like what was written


def read_page(topic: str) -> tuple[str, str]:
    """Return a page's name and text.

    Args:
        topic: a page's name, a failure's name, or a page's path.

    Raises:
        InputError: if there is no such page.
    """
    from pki.failures import FAILURES  # noqa: PLC0415 - loaded for pages alone
    from pki.failures.pages import make_index, make_page  # noqa: PLC0415

    files = _find_files()
    name = topic.removeprefix("docs/").removesuffix(".md").removesuffix("/README").strip("/")
    if name in files:
        return name, _with_docstrings(files[name].read_text(encoding="utf-8"))
    if name == _FAILURES.rstrip("/"):
        return name, make_index()
    slug = name.removeprefix(_FAILURES)
    if slug in FAILURES:
        return name, make_page(FAILURES[slug])
    close = difflib.get_close_matches(name, [*files, *FAILURES], 3, _SIMILAR)
    raise InputError(
        f"there is no page {quote_untrusted(topic)}",
        remedy=f"Is it {' or '.join(close)}?" if close else "List them with: handfast docs",
    )


def read_titles() -> dict[str, str]:
    """Return the titles of the pages by topic.

    Raises:
        InputError: if they are not installed.
    """
    from pki.failures import FAILURES  # noqa: PLC0415 - loaded for pages alone
    from pki.failures.pages import INDEX_TITLE, title_of  # noqa: PLC0415

    titles = {
        name: path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()
        for name, path in _find_files().items()
    }
    titles[_FAILURES.rstrip("/")] = INDEX_TITLE
    titles |= {f"{_FAILURES}{slug}": title_of(FAILURES[slug]) for slug in FAILURES}
    return dict(sorted(titles.items()))


def list_lines(titles: Mapping[str, str]) -> list[str]:
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
    from pki.failures import FAILURES  # noqa: PLC0415 - loaded for pages alone

    try:
        files = _find_files()
    except (InputError, OSError):
        return []
    names = [*(name for name in files if "/" not in name), _FAILURES.rstrip("/"), *FAILURES]
    return [name for name in names if name.startswith(incomplete)]


def _find_files() -> dict[str, Path]:
    """Return the pages that are files, by topic.

    Raises:
        InputError: if they are not installed.
    """
    folder = next((item for item in _FOLDERS if item.is_dir()), None)
    if folder is None:
        raise InputError(
            "the documentation is not installed",
            remedy="Install handfast from its wheel, or read docs/ in its source",
        )
    files = {
        path.relative_to(folder).with_suffix("").as_posix().removesuffix("/README"): path
        for path in sorted(folder.rglob("*.md"))
    }
    # The reasons for the code's design are for those who change it, and failures are in a table.
    return {
        name: path
        for name, path in files.items()
        if name.partition("/")[0] not in {"adr", _FAILURES.rstrip("/")}
    }


def _with_docstrings(text: str) -> str:
    """Put what a site would show of an object in the place of each line that names one."""
    return re.sub(r"^::: (\S+)$", lambda found: _docstring_of(found[1]), text, flags=re.MULTILINE)


def _docstring_of(path: str) -> str:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError:
        # The core alone prints pages too.
        return f"`{path}` needs an extra that is not installed here."
    shown = {name: found} | {
        f"{name}.{method}": value
        for method, value in (inspect.getmembers(found) if inspect.isclass(found) else ())
        if not method.startswith("_")
        and (getattr(value, "__module__", "") or "").startswith("pki.")
    }
    return "\n\n".join(
        f"### {title}{_signature(value)}\n\n{inspect.getdoc(value) or ''}"
        for title, value in shown.items()
    )


def _signature(value: object) -> str:
    try:
        return f"`{inspect.signature(value)}`" if callable(value) else ""
    except ValueError:
        return ""
