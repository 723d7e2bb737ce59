"""Lines that are appended whole: on a full disk, and when the file is moved away."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pki.access.appended_file import AppendedFile

FIRST, SECOND = b"first line\n", b"second line\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lines"


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Sets how many bytes the disk has room for."""
    left: list[int | None] = [None]
    write = os.write

    def write_if_room(descriptor: int, data: bytes) -> int:
        if left[0] is None:
            return write(descriptor, data)
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr("pki.access.appended_file.os.write", write_if_room)

    def give(number: int | None) -> None:
        left[0] = number

    return give


def test_lines_are_appended(path: Path) -> None:
    path.write_bytes(FIRST)
    file = AppendedFile(path)
    assert file.append(SECOND) == (b"", None)
    assert path.read_bytes() == FIRST + SECOND
    file.close()


def test_a_line_that_has_room_in_part_alone_is_taken_back_and_written_whole_later(
    path: Path, room: Callable[[int | None], None]
) -> None:
    file = AppendedFile(path)
    room(len(FIRST) + 4)
    left, error = file.append(FIRST + SECOND)
    assert (left, error is not None) == (SECOND, True)
    assert path.read_bytes() == FIRST
    room(None)
    assert file.append(left) == (b"", None)
    assert path.read_bytes() == FIRST + SECOND
    file.close()


def test_a_part_of_a_line_that_another_process_has_written_after_ends_there(
    path: Path, room: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AppendedFile(path)
    room(4)
    monkeypatch.setattr(AppendedFile, "_take_back", lambda *_: False)
    left, _ = file.append(FIRST)
    assert left == FIRST
    room(None)
    assert file.append(left + SECOND) == (b"", None)
    assert path.read_bytes() == FIRST[:4] + b"\n" + FIRST + SECOND
    file.close()


def test_what_another_process_has_written_is_not_taken_back(path: Path) -> None:
    file = AppendedFile(path)
    file.append(FIRST)
    with path.open("ab") as other:
        other.write(SECOND)
    assert not file._take_back(4)
    assert path.read_bytes() == FIRST + SECOND
    file.close()


def test_a_line_that_was_begun_in_a_file_is_whole_in_the_next_one(
    path: Path, room: Callable[[int | None], None]
) -> None:
    file = AppendedFile(path)
    room(4)
    left, _ = file.append(FIRST)
    path.rename(path.with_suffix(".1"))
    room(None)
    assert file.append(left) == (b"", None)
    assert path.read_bytes() == FIRST
    assert path.with_suffix(".1").read_bytes() == b""
    file.close()


@pytest.mark.parametrize("what", ["folder is gone", "may not be opened"])
def test_nothing_is_written_to_the_old_file_while_the_new_one_can_not_be_opened(
    tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    file = AppendedFile(folder / "lines")
    file.append(FIRST)
    folder.rename(tmp_path / "moved")
    if what == "may not be opened":
        folder.mkdir()
        (folder / "lines").mkdir()
    for _ in range(3):
        left, error = file.append(SECOND)
        assert left == SECOND
        assert error is not None
    assert (tmp_path / "moved" / "lines").read_bytes() == FIRST
    if what == "may not be opened":
        (folder / "lines").rmdir()
    else:
        folder.mkdir()
    assert file.append(SECOND) == (b"", None)
    assert (folder / "lines").read_bytes() == SECOND
    file.close()


def test_a_relative_path_stays_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    file = AppendedFile(Path("lines"))
    monkeypatch.chdir(tmp_path / "other")
    file.append(FIRST)
    assert (tmp_path / "lines").read_bytes() == FIRST
    assert not list((tmp_path / "other").iterdir())
    file.close()


def test_a_descriptor_that_somebody_closed_is_opened_again_and_never_used_for_another_file(
    path: Path,
) -> None:
    file = AppendedFile(path)
    file.append(FIRST)
    number = file.descriptor
    os.close(number)
    assert file.append(SECOND) == (b"", None)
    assert path.read_bytes() == FIRST + SECOND
    os.close(file.descriptor)
    with path.with_suffix(".other").open("wb") as other:
        assert other.fileno() == number
        file.append(FIRST)
        other.flush()
        assert path.read_bytes() == FIRST + SECOND + FIRST
        file.close()
        os.fstat(other.fileno())  # is still open
    assert path.with_suffix(".other").read_bytes() == b""
