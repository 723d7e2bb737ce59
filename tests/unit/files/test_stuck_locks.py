"""A lock whose holder stands still: who is in a hurry waits for it once, and not for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pki.files import BusyFolderError, hold_lock, hurried, locked

NAME, OTHER = ".publish.lock", ".audit.lock"


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


def test_who_is_in_a_hurry_waits_once_for_each_lock(tmp_path: Path) -> None:
    with held(tmp_path), held(tmp_path, OTHER), hurried(5):
        assert waits_of(tmp_path, 30) == pytest.approx(5, abs=0.1)
        assert 0 < waits_of(tmp_path, 30) < 1
        assert waits_of(tmp_path, 2, OTHER) == pytest.approx(2, abs=0.1)
        # However short the last attempt was, the holder has had it for as long as this.
        with pytest.raises(BusyFolderError, match="for 5 seconds"), locked(tmp_path, name=NAME):
            pass
    with hurried(5):
        assert waits_of(tmp_path, 30) == 0


def test_all_others_wait_each_time_and_also_after_somebody_was_in_a_hurry(tmp_path: Path) -> None:
    with held(tmp_path):
        with hurried(5):
            waits_of(tmp_path, 30)
        for _ in range(2):
            assert waits_of(tmp_path, 30) == pytest.approx(30, abs=0.1)
