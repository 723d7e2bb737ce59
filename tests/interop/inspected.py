"""Inspects a file that a test writes, and reads the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pki.cli.app import run


class Inspector:
    """Writes files into a folder, and gives what ``handfast inspect --json`` says of each."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._home = home
        self._capsys = capsys

    def __call__(self, name: str, data: bytes) -> list[dict[str, Any]]:
        path = self._home / name
        path.write_bytes(data)
        self._capsys.readouterr()
        code = run(["inspect", str(path), "--json"])
        out, err = self._capsys.readouterr()
        assert code == 0, err
        objects: list[dict[str, Any]] = json.loads(out)["objects"]
        return objects


def kinds(objects: list[dict[str, Any]]) -> list[str]:
    return [item["kind"] for item in objects]


def flags(item: dict[str, Any]) -> str:
    return "; ".join(flag["message"] for flag in item["flags"])


def bad_flags(item: dict[str, Any]) -> str:
    return "; ".join(flag["message"] for flag in item["flags"] if flag["level"] == "bad")
