"""The two wheels of this repository, built once for all tests that look into them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Wheels:
    """The paths of the wheels: the core's, and that of the CA and the command."""

    core: Path
    ca: Path


def build(source: Path, folder: Path, kind: str = "wheel") -> Path:
    """Build a distribution; return the path of its one file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """Return the two wheels."""
    folder = tmp_path_factory.mktemp("wheels")
    return Wheels(
        core=build(ROOT, folder / "core"), ca=build(ROOT / "distributions" / "ca", folder / "ca")
    )
