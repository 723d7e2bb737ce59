"""Which changes the watcher reports, and that one faulty path does not hide another's."""

from __future__ import annotations

import os
from pathlib import Path

from pki.credentials.file_watcher import FileWatcher, WatchedPaths
from tests.interop.shop import eventually


def watched(*paths: Path) -> WatchedPaths:
    return WatchedPaths(lambda: paths, lambda: None)


def test_the_first_check_reports_nothing_and_a_change_is_reported_twice(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("one")
    item = watched(path)
    assert not item.check()
    assert not item.check()
    path.write_text("three")
    # A second write may leave the same state, so what was read after the first is read again.
    assert [item.check(), item.check(), item.check()] == [True, True, False]


def test_a_write_that_leaves_the_same_state_is_reported_after_the_first(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("first")
    item = watched(path)
    item.check()
    path.write_text("other")
    assert item.check()
    status = path.stat()
    path.write_text("third")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert item.check()


def test_a_file_beside_a_watched_file_is_not_reported(tmp_path: Path) -> None:
    policy, log = tmp_path / "policy.toml", tmp_path / "service.log"
    policy.write_text("one")
    item = watched(policy)
    item.check()
    log.write_text("a line\n")
    assert not item.check()


def test_paths_that_can_not_be_named_do_not_keep_others_from_being_watched(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    changes: list[str] = []

    def faulty() -> list[Path]:
        raise OSError("no such host")

    items = [
        WatchedPaths(faulty, lambda: changes.append("faulty")),
        WatchedPaths(lambda: [path], lambda: changes.append("good")),
    ]
    items[1].check()
    watcher = FileWatcher(lambda: items)
    watcher.start()
    try:
        path.write_text("one")
        assert eventually(lambda: bool(changes))
    finally:
        watcher.stop(10)
    assert set(changes) == {"good"}
