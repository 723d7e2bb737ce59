"""A log file beside the policy or the credential causes no reloads, and so no lines of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pki
from pki.credentials.file_watcher import FileWatcher, WatchedPaths
from pki.files import LoadedCredential, load_credential
from tests.interop.shop import Shop, eventually

LINES = 40


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Write the records of every logger to a file, as a service does."""
    handler = logging.FileHandler(path)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


@pytest.mark.parametrize("place", ["policy", "credential", "both"])
def test_a_log_feeds_neither_itself_nor_reloads(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr("pki.credentials.provider._RELOAD_SECONDS", 3600.0)
    loads: list[object] = []
    real = load_credential

    def counted(*arguments: Any, **more: Any) -> LoadedCredential:
        loads.append(arguments)
        # As a service does that logs what it reads.
        logging.getLogger("service").info("reading")
        return real(*arguments, **more)

    monkeypatch.setattr("pki.credentials.source.load_credential", counted)
    credential, policy = shop.directory("server"), shop.policy
    if place == "both":
        policy = credential / "policy.toml"
        policy.write_bytes(shop.policy.read_bytes())
    log = (policy if place == "policy" else credential / "key.pem").with_name("service.log")
    with log_file(log), shop.workload("server", policy=policy) as me:
        service = logging.getLogger("service")
        watched = eventually_compared(monkeypatch)
        loads.clear()
        for number in range(LINES):
            service.info("line %d", number)
            assert eventually(lambda: watched() > number // 8)  # noqa: B023
        assert len(loads) <= 1
        lines = log.read_text().splitlines()
        assert len(lines) < 2 * LINES
        fresh = shop.ca.issue("server")
        fresh.save(credential)
        assert eventually(lambda: me.credential.leaf == fresh.leaf)


def eventually_compared(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return how often the watched paths have been compared since this was called."""
    count: list[int] = []
    real = FileWatcher._check_all

    def counted(watcher: FileWatcher) -> None:
        real(watcher)
        count.append(1)

    monkeypatch.setattr(FileWatcher, "_check_all", counted)
    return lambda: len(count)


class Watched:
    """One watched path, and how often it was compared and found to have changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.compared = self.changed = 0
        self.paths = WatchedPaths(self._paths, self._changed)

    def _paths(self) -> Iterable[Path]:
        self.compared += 1
        return (self.path,)

    def _changed(self) -> None:
        self.changed += 1


@contextmanager
def watching(path: Path) -> Iterator[Watched]:
    watched = Watched(path)
    watcher = FileWatcher(lambda: [watched.paths])
    watcher.start()
    try:
        assert eventually(lambda: watched.compared >= 3)
        yield watched
    finally:
        watcher.stop(5.0)


def write_until(done: Callable[[], bool], path: Path) -> None:
    """Write to a file again and again, much faster than the watcher compares by its clock."""

    def write() -> bool:
        with path.open("a") as file:
            file.write("x\n")
        return done()

    assert eventually(write, 20.0)


def test_other_files_of_a_folder_cause_no_comparison_before_its_time(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("x")
    with watching(policy) as watched:
        began, compared = time.monotonic(), watched.compared
        write_until(lambda: watched.compared - compared >= 6, tmp_path / "service.log")
        # By the clock it is compared four times a second; each write would make it twenty times.
        assert time.monotonic() - began > 1.0
        assert watched.changed == 0
        policy.write_text("y")
        assert eventually(lambda: watched.changed > 0)


@pytest.mark.parametrize("through", ["file", "link", "linked folder"])
def test_a_watched_file_is_noticed_while_others_change_all_the_time(
    tmp_path: Path, through: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    policy = home / "policy.toml"
    policy.write_text("x")
    path = policy
    if through == "link":
        path = tmp_path / "link.toml"
        path.symlink_to(policy)
    elif through == "linked folder":
        (tmp_path / "folder").symlink_to(home)
        path = tmp_path / "folder" / "policy.toml"
    with watching(path) as watched:
        for round_ in range(3):
            changed = watched.changed
            aside = home / "aside"
            aside.write_text(str(round_))
            aside.replace(policy)
            write_until(lambda: watched.changed > changed, home / "service.log")  # noqa: B023


def test_a_workload_is_still_made_of_every_file_that_matters(shop: Shop) -> None:
    folder = shop.directory("server")
    with pki.Workload.from_directory(folder, policy=shop.policy) as me:
        first = me.credential
        shop.ca.refresh_crls(force=True)
        shop.bring_trust()
        assert eventually(lambda: me.credential.crls != first.crls)
