"""The CA whose roots are kept elsewhere, for the tests of rotation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rotating import Offline, offline_ca


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Offline]:
    with offline_ca(tmp_path) as made:
        yield made
