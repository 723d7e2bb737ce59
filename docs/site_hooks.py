"""Hooks for mkdocs (``make docs``): the README is the first page, and no link leads nowhere.

In the source, the pages link to files outside of ``docs/`` and to folders. On the site such a link
leads to the repository.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_DOCS = Path(__file__).resolve().parent
_ROOT = _DOCS.parent
_LINK = re.compile(r"\]\((?!\w+:|#|/)([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the README as the first page."""
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=_link_from(text, _ROOT, config)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Let links out of ``docs/`` lead to the repository."""
    if page.file.src_uri == "index.md":
        return markdown
    return _link_from(markdown, (_DOCS / page.file.src_uri).parent, config)


def _link_from(text: str, folder: Path, config: Any) -> str:
    """Return a text whose links are right on the site.

    Args:
        text: Markdown, whose links are relative to a folder of the source.
        folder: that folder.
        config: mkdocs' own, with the repository's address.
    """

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        path = Path(os.path.normpath(folder / target))
        if not path.exists():
            return match[0]  # mkdocs names it
        if path.is_relative_to(_DOCS) and path.suffix == ".md":
            if folder == _ROOT:
                return f"]({path.relative_to(_DOCS).as_posix()}{anchor})"
            return match[0]
        kind = "tree" if path.is_dir() else "blob"
        address = f"{config['repo_url']}/{kind}/main/{path.relative_to(_ROOT).as_posix()}"
        return f"]({address}{anchor})"

    return _LINK.sub(link, text)
