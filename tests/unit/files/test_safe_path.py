"""How root opens a path: by which links it is led, and by which it is not."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pki.files.safe_path import UnsafePathError, only_root_can_change, open_path
from tests.command import MALLORY, NOBODY

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users open as the system does")


def opened(path: Path | str, start: int | None = None) -> bytes:
    descriptor = open_path(path, os.O_RDONLY, start=start)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a folder of root with a file, and one of a user with a file."""
    for name, user in (("owned", os.geteuid()), ("user", MALLORY), ("third", NOBODY)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "file").write_bytes(name.encode())
        if os.geteuid() == 0:
            for path in (folder, folder / "file"):
                os.chown(path, user, user)
    return tmp_path


def link(path: Path, target: Path | str, user: int) -> Path:
    path.symlink_to(target)
    os.chown(path, user, user, follow_symlinks=False)
    return path


def test_a_plain_path_is_opened_from_anywhere(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    folder = os.open("owned", os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert (
            opened(tree / "owned/file")
            == opened("owned/file")
            == opened("./owned//file")
            == b"owned"
        )
        assert opened("owned/../user/file") == b"user"
        assert opened("file", folder) == opened("../owned/file", folder) == b"owned"
        assert opened(tree / "owned/file", folder) == b"owned"
    finally:
        os.close(folder)
    descriptor = open_path(".", os.O_RDONLY | os.O_DIRECTORY)
    assert os.fstat(descriptor).st_ino == tree.stat().st_ino
    os.close(descriptor)


@pytest.mark.parametrize(
    ("name", "code"),
    [("owned/none", errno.ENOENT), ("none/file", errno.ENOENT), ("owned/file/x", errno.ENOTDIR)],
)
def test_what_is_not_there_is_reported_as_the_system_does(tree: Path, name: str, code: int) -> None:
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        open_path(tree / name, os.O_RDONLY)
    assert caught.value.errno == code


def test_a_circle_of_links_ends(tree: Path) -> None:
    link(tree / "a", "b", os.geteuid())
    link(tree / "b", "a", os.geteuid())
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        open_path(tree / "a", os.O_RDONLY)


@needs_root
@pytest.mark.parametrize("target", ["user", "owned", "third"])
def test_root_s_links_are_followed_everywhere(tree: Path, target: str) -> None:
    link(tree / "owned" / "link", f"../{target}/file", 0)
    link(tree / "owned" / "absolute", tree / target, 0)
    assert opened(tree / "owned" / "link") == target.encode()
    assert opened(tree / "owned" / "absolute" / "file") == target.encode()


Attack = Callable[[Path], Path]
ATTACKS: dict[str, Attack] = {
    "a link to root's file": lambda tree: link(tree / "user/x", "../owned/file", MALLORY),
    "a link to a third user's file": lambda tree: link(tree / "user/x", "../third/file", MALLORY),
    "an absolute link": lambda tree: link(tree / "user/x", tree / "owned/file", MALLORY),
    "an absolute link to one's own": lambda tree: link(
        tree / "user/x", tree / "user/file", MALLORY
    ),
    "a linked folder": lambda tree: link(tree / "user/x", "../root", MALLORY) / "file",
    "a link to a link of root": lambda tree: link(
        tree / "user/x",
        os.path.relpath(link(tree / "owned/y", "file", 0), tree / "user"),
        MALLORY,
    ),
    # A user can move root's link, which is relative, into a folder of their own.
    "root's link in a user's folder": lambda tree: link(tree / "user/x", "../owned/file", 0),
}


@needs_root
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_user_s_link_leads_root_to_nobody_else_s_files(tree: Path, attack: str) -> None:
    with pytest.raises(UnsafePathError, match="user 54321 can change"):
        open_path(ATTACKS[attack](tree), os.O_RDONLY)


@needs_root
def test_a_user_s_link_in_a_folder_of_all_is_that_user_s(tree: Path) -> None:
    shared = tree / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    link(shared / "x", "../owned/file", MALLORY)
    with pytest.raises(UnsafePathError):
        open_path(shared / "x", os.O_RDONLY)
    # Sticky: nobody else can have put root's link there.
    link(shared / "of-root", "../owned/file", 0)
    assert opened(shared / "of-root") == b"owned"
    shared.chmod(0o777)
    with pytest.raises(UnsafePathError):
        open_path(shared / "of-root", os.O_RDONLY)


@needs_root
def test_a_user_s_links_among_their_own_files_are_followed(tree: Path) -> None:
    link(tree / "user/x", "y", MALLORY)
    link(tree / "user/y", "file", MALLORY)
    assert opened(tree / "user/x") == b"user"


@needs_root
@pytest.mark.parametrize(
    ("mode", "group", "only_root"),
    [(0o755, 0, True), (0o775, 0, True), (0o775, 2000, False), (0o1777, 0, False)],
)
def test_whether_only_root_can_change_a_folder(
    tmp_path: Path, mode: int, group: int, only_root: bool
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.chown(folder, 0, group)
    folder.chmod(mode)
    assert stat.S_IMODE(folder.stat().st_mode) == mode
    assert only_root_can_change(folder.stat()) is only_root
    os.chown(folder, MALLORY, 0)
    assert not only_root_can_change(folder.stat())
