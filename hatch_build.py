"""Lets the extras require ``handfast-ca`` at exactly the version of this distribution."""

from __future__ import annotations

from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ExtrasOfThisVersionHook(MetadataHookInterface):
    """Declares the extras that ``pyproject.toml`` lists for this hook."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the extras, with the version in place of ``{version}``."""
        metadata["optional-dependencies"] = {
            extra: [line.replace("{version}", metadata["version"]) for line in lines]
            for extra, lines in self.config["optional-dependencies"].items()
        }
