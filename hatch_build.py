"""Puts the pages of ``docs/`` into the wheel, for ``handfast docs``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DocsHook(BuildHookInterface[Any]):
    """Adds each page that ``handfast docs`` prints."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the pages to a wheel; an editable installation reads them from the checkout."""
        if version == "editable":
            return
        docs = Path(self.root) / "docs"
        for path in docs.rglob("*.md"):
            page = path.relative_to(docs)
            if page.parts[0] != "adr":
                build_data["force_include"][str(path)] = f"pki/docs/{page.as_posix()}"
