"""What tests of the runtime begin with."""

from __future__ import annotations

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
