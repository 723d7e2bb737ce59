"""What tests of the runtime begin with."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.shop import Shop

# A background job of a shell ignores SIGINT, and so would each program that a test interrupts: what
# is ignored is inherited, what is handled is not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    """Return a folder that every user can reach, as pytest's own is not."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to act as several users")
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)
