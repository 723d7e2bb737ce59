"""A path is followed, not an inode: whatever makes it mean something else counts at once.

The look that takes place every few seconds anyway is put off here, so that what counts was seen.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import pki
from pki.files.path_signature import path_signature
from tests.interop.shop import Shop, eventually

LONG = timedelta(days=1)


@pytest.fixture(autouse=True)
def _no_looks_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pki.credentials.provider._RELOAD_SECONDS", 3600.0)
    monkeypatch.setattr("pki.credentials.provider._RETRY_SECONDS", 3600.0)
    monkeypatch.setattr("pki.credentials.policy_provider._RETRY_SECONDS", 3600.0)


def fresh_copy(shop: Shop, target: Path) -> int:
    """Put a new credential of the server into another folder; give its serial number."""
    made = shop.ca.issue("server")
    made.save(target)
    return made.leaf.serial_number


def follows(shop: Shop, folder: Path, change: Callable[[], int]) -> None:
    """Check that two changes count, one after the other."""
    shop.directory("server")
    with pki.Workload.from_directory(folder, policy=shop.policy, read_grace=LONG) as me:
        for _ in range(2):
            serial = change()
            assert eventually(lambda: me.credential.leaf.serial_number == serial)  # noqa: B023


def test_a_directory_that_is_a_link_and_is_swapped(shop: Shop) -> None:
    link, numbers = shop.home / "link", iter("abc")
    link.symlink_to(shop.directory("server"))

    def swap() -> int:
        target = shop.home / f"server-{next(numbers)}"
        serial = fresh_copy(shop, target)
        aside = shop.home / "link.new"
        aside.symlink_to(target.name)
        aside.replace(link)
        return serial

    follows(shop, link, swap)


def test_a_link_further_up_that_is_swapped(shop: Shop) -> None:
    place, numbers = shop.home / "place", iter("abc")
    (shop.home / "first").mkdir()
    shutil.copytree(shop.directory("server"), shop.home / "first" / "creds")
    place.symlink_to("first")

    def swap() -> int:
        home = shop.home / f"home-{next(numbers)}"
        serial = fresh_copy(shop, home / "creds")
        aside = shop.home / "place.new"
        aside.symlink_to(home)
        aside.replace(place)
        return serial

    follows(shop, place / "creds", swap)


def test_a_directory_that_is_moved_aside_and_replaced(shop: Shop) -> None:
    folder, numbers = shop.directory("server"), iter("abc")

    def replace() -> int:
        number = next(numbers)
        serial = fresh_copy(shop, shop.home / f"server-{number}")
        folder.rename(shop.home / f"aside-{number}")
        (shop.home / f"server-{number}").rename(folder)
        return serial

    follows(shop, folder, replace)


def test_what_is_written_into_a_directory_that_came_later(shop: Shop) -> None:
    folder, numbers = shop.directory("server"), iter("abc")

    def renew() -> int:
        number = next(numbers)
        shutil.copytree(folder, shop.home / f"copy-{number}")
        folder.rename(shop.home / f"aside-{number}")
        (shop.home / f"copy-{number}").rename(folder)
        made = shop.ca.issue("server")
        made.save(folder)
        return made.leaf.serial_number

    follows(shop, folder, renew)


def test_files_that_are_links_to_files_elsewhere(shop: Shop) -> None:
    folder, elsewhere = shop.directory("server"), shop.home / "elsewhere"
    elsewhere.mkdir()
    for name in ("key.pem", "chain.pem", "bundle.pem", "crl.pem"):
        (folder / name).rename(elsewhere / name)
        (folder / name).symlink_to(elsewhere / name)

    def renew() -> int:
        target = shop.home / "new"
        shutil.rmtree(target, ignore_errors=True)
        serial = fresh_copy(shop, target)
        for name in ("key.pem", "chain.pem", "bundle.pem", "crl.pem"):
            (target / name).replace(elsewhere / name)
        return serial

    follows(shop, folder, renew)


def test_a_relative_directory_after_the_process_went_elsewhere(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shop.directory("server")
    monkeypatch.chdir(shop.home)

    def renew() -> int:
        os.chdir("/")
        made = shop.ca.issue("server")
        made.save(folder)
        return made.leaf.serial_number

    follows(shop, Path("server"), renew)


def write_in_place(path: Path, text: str) -> None:
    path.write_text(text)


def write_aside(path: Path, text: str) -> None:
    aside = path.with_suffix(".new")
    aside.write_text(text)
    aside.replace(path)


@pytest.mark.parametrize("write", [write_in_place, write_aside])
@pytest.mark.parametrize("kind", ["file", "link", "link in a linked folder", "relative"])
def test_a_policy_wherever_it_lies(
    shop: Shop, kind: str, write: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shop.policy
    used: Path = real
    if kind == "link":
        used = shop.home / "policy-link.toml"
        used.symlink_to(real)
    elif kind == "link in a linked folder":
        (shop.home / "etc").mkdir()
        (shop.home / "etc" / "policy.toml").symlink_to("../policy/policy.toml")
        (shop.home / "etc-link").symlink_to("etc")
        used = shop.home / "etc-link" / "policy.toml"
    elif kind == "relative":
        monkeypatch.chdir(shop.home)
        used = Path("policy/policy.toml")
    good = real.read_text()
    with shop.workload("server", policy=used, read_grace=LONG) as me:
        monkeypatch.chdir("/")
        for _ in range(2):
            write(real, "nonsense")
            assert eventually(lambda: bool(me.problems))
            write(real, good)
            assert eventually(lambda: not me.problems)


def test_a_signature_tells_what_changed(tmp_path: Path) -> None:
    def change(step: Callable[[], Any]) -> bool:
        before = path_signature(tmp_path)
        step()
        return path_signature(tmp_path) != before

    path = tmp_path / "file"
    assert change(lambda: path.write_text("one"))
    assert change(lambda: path.write_text("three"))
    assert change(lambda: path.chmod(0o600))
    assert change(path.unlink)
    assert change(lambda: path.symlink_to("nowhere"))
    assert not change(lambda: None)


class _WritesBesideThePolicy(logging.Handler):
    """A log file in a folder that is watched: a line for each change would never end."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        self.names: list[str] = []

    def handle(self, record: logging.LogRecord) -> bool:
        self.names.append(record.name)
        with self._file.open("a") as file:
            file.write(f"{record.name}\n")
        return True


def test_a_change_is_logged_by_nobody_but_us(shop: Shop) -> None:
    # A line for each change, written to a file beside the policy, is the next change: 25 lines a
    # second, without end.
    root, handler = logging.getLogger(), _WritesBesideThePolicy(shop.policy.parent / "service.log")
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        follows(shop, shop.directory("server"), lambda: fresh_copy(shop, shop.directory("server")))
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    assert {name.partition(".")[0] for name in handler.names} <= {"handfast", "asyncio"}


def test_a_log_that_blocks_holds_up_no_watch(shop: Shop) -> None:
    over = threading.Event()

    class Blocking(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            return over.wait(30)

    root, handler = logging.getLogger(), Blocking()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        follows(shop, shop.directory("server"), lambda: fresh_copy(shop, shop.directory("server")))
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        over.set()


def test_lists_that_are_removed_are_told_of_and_count_to_their_end(shop: Shop) -> None:
    folder = shop.directory("server")
    with pki.Workload.from_directory(folder, policy=shop.policy, read_grace=LONG) as me:
        crls = (folder / "crl.pem").read_bytes()
        (folder / "crl.pem").unlink()
        assert eventually(lambda: any("there are none any more" in item for item in me.problems))
        assert me.credential.crls is not None
        (folder / "crl.pem").write_bytes(crls)
        assert eventually(lambda: me.problems == ())
