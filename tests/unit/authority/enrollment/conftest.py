"""A CA for each test, with a clock that is moved by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority.context import AuthorityContext
from tests.support import Clock, make_authority


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[AuthorityContext]:
    with make_authority(tmp_path, clock) as authority:
        yield authority.context
