"""What tests of the runtime begin with."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A CA and a policy of their own, and credentials for a server, a caller and a stranger."""
    made = Shop(tmp_path)
    for name in ("server", "caller", "stranger"):
        made.directory(name)
    yield made
    made.ca.close()


@pytest.fixture
def open_ground() -> Iterator[Path]:
    """Give a folder that every user can reach, as pytest's own is not."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to act as several users")
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)
