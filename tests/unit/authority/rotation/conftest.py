"""The CA whose roots are kept elsewhere, for the tests of rotation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority.rotation.root import (
    make_root,
)
from pki.keys import generate_key, read_private_key
from tests.rotating import Offline
from tests.support import NOW, SHOP, Clock, make_authority


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Offline]:
    clock = Clock()
    with make_authority(tmp_path, clock) as ca:
        path = tmp_path / "ca" / "root.key.pem"
        old_key, new_key = read_private_key(path.read_bytes()), generate_key()
        path.unlink()
        new = make_root(
            SHOP,
            new_key,
            lifetime=timedelta(days=3650),
            issuing_lifetime=timedelta(days=365),
            backdate=timedelta(minutes=1),
            now=NOW,
        )
        yield Offline(ca, clock, old_key, new_key, new)
