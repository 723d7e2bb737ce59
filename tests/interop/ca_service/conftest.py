"""A CA that is served, for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ca_service import Served, served_ca


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Served]:
    with served_ca(tmp_path) as served:
        yield served
