"""Space in reserve beside the ledger: taken where there is room, and given up as a whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pki.authority.ledger.beside.reserve import LEAST_BYTES, Reserve, is_for_lack_of_room
from pki.errors import LedgerError
from tests.support import make_authority


def reserve_in(folder: Path) -> Reserve:
    folder.chmod(0o700)
    return Reserve(folder, folder / "crl.pem")


def test_a_ca_has_it_from_its_first_day(tmp_path: Path) -> None:
    with make_authority(tmp_path) as ca:
        assert ca.context.reserve.held() >= LEAST_BYTES == ca.context.reserve.wanted()
        file = ca.path / "ledger.reserve"
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.stat().st_blocks * 512 >= LEAST_BYTES


def test_it_is_four_times_as_large_as_long_lists(tmp_path: Path) -> None:
    reserve = reserve_in(tmp_path)
    (tmp_path / "crl.pem").write_bytes(b"x" * 400_000)
    assert reserve.make()
    assert reserve.held() >= reserve.wanted() == 1_600_000


def test_released_it_holds_nothing_until_it_is_made_again(tmp_path: Path) -> None:
    reserve = reserve_in(tmp_path)
    assert not reserve.release()
    assert reserve.make()
    assert reserve.release()
    assert reserve.held() == 0
    assert (tmp_path / "ledger.reserve").stat().st_blocks == 0
    assert not reserve.release()
    assert reserve.make()
    assert reserve.held() >= LEAST_BYTES


def test_a_sparse_copy_of_it_holds_nothing(tmp_path: Path) -> None:
    reserve = reserve_in(tmp_path)
    with (tmp_path / "ledger.reserve").open("wb") as file:
        os.ftruncate(file.fileno(), LEAST_BYTES)
    assert reserve.held() == 0
    assert reserve.make()
    assert reserve.held() >= LEAST_BYTES


def test_it_is_not_made_where_there_is_no_room_for_twice_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = reserve_in(tmp_path)
    room = os.statvfs(tmp_path)
    blocks = 2 * LEAST_BYTES // room.f_frsize - 1
    values = (*room[:4], blocks, *room[5:])
    monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result(values))
    assert not reserve.make()
    assert reserve.held() == 0


def test_a_link_in_its_place_empties_no_other_file(tmp_path: Path) -> None:
    reserve = reserve_in(tmp_path)
    other = tmp_path / "other"
    other.write_bytes(b"x" * LEAST_BYTES)
    (tmp_path / "ledger.reserve").symlink_to(other)
    assert not reserve.release()
    os.unlink(tmp_path / "ledger.reserve")
    os.link(other, tmp_path / "ledger.reserve")
    assert not reserve.release()
    assert other.stat().st_size == LEAST_BYTES


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_known_by_the_cause_of_an_error(tmp_path: Path, number: int) -> None:
    error = LedgerError("could not record")
    error.__cause__ = OSError(number, os.strerror(number))
    assert is_for_lack_of_room(error, tmp_path)
    error.__cause__ = OSError(errno.EACCES, "no")
    assert not is_for_lack_of_room(error, tmp_path)
