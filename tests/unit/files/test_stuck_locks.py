"""A lock whose holder stands still: it is waited for once, not at each step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pki.files import BusyFolderError, hold_lock, locked

NAME = ".publish.lock"


@contextmanager
def held(folder: Path, name: str = NAME) -> Iterator[None]:
    release = hold_lock(folder, name=name)
    try:
        yield
    finally:
        release()


def waits_of(folder: Path, seconds: float, name: str = NAME) -> float:
    """Return how long somebody would have waited for a lock; 0 if it was free."""
    waited: list[float] = []
    with (
        suppress(BusyFolderError),
        locked(folder, name=name, wait_seconds=seconds, sleep=waited.append),
    ):
        pass
    return sum(waited)


def test_who_has_waited_in_vain_waits_no_more_until_the_lock_is_free(tmp_path: Path) -> None:
    with held(tmp_path):
        assert waits_of(tmp_path, 30) == pytest.approx(30, abs=0.1)
        assert 0 < waits_of(tmp_path, 30) < 1
        # However short the last attempt was, the holder has had it for as long as this.
        with pytest.raises(BusyFolderError, match="for 30 seconds"), locked(tmp_path, name=NAME):
            pass
        # Another lock of the folder is another one's.
        with held(tmp_path, ".audit.lock"):
            assert waits_of(tmp_path, 5, ".audit.lock") == pytest.approx(5, abs=0.1)
    assert waits_of(tmp_path, 30) == 0
    with held(tmp_path):
        assert waits_of(tmp_path, 30) == pytest.approx(30, abs=0.1)


def test_one_attempt_is_no_wait_in_vain(tmp_path: Path) -> None:
    with held(tmp_path):
        assert waits_of(tmp_path, 0) == 0
        assert waits_of(tmp_path, 30) == pytest.approx(30, abs=0.1)
