"""Requires the core of handfast at the version of this distribution."""

from __future__ import annotations

from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CoreOfThisVersionHook(MetadataHookInterface):
    """Declares the one dependency: the core, at exactly this version."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the dependency; the libraries come with the extras of handfast."""
        metadata["dependencies"] = [f"handfast=={metadata['version']}"]
