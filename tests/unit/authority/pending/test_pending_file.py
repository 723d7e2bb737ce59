"""``revocations.pending``: whole lines count, torn ones do not, and nobody else may write it."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509

from pki.authority.pending.file import SPACE_BYTES, PendingFile
from pki.authority.pending.record import PendingEntry, PendingRevocation
from pki.authority.pending.revocations import PendingRevocations
from pki.errors import StateError

AT = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)


def record(serial: str = "ab12") -> PendingRevocation:
    return PendingRevocation.make(
        [serial],
        x509.ReasonFlags.key_compromise,
        [PendingEntry("cd" * 20, serial, 1_800_000_000, 1_700_000_000)],
        at=AT,
        actor="local:0",
        whole_line=True,
    )


@pytest.fixture
def file(tmp_path: Path) -> PendingFile:
    folder = tmp_path / "ca"
    folder.mkdir(mode=0o700)
    return PendingFile(folder)


def test_what_was_appended_is_read_in_order(file: PendingFile) -> None:
    assert file.is_empty()
    first, second = record(), record("ab13")
    file.append(first)
    file.append(second)
    assert file.read() == (first, second)
    assert not file.is_empty()


def test_its_space_is_taken_in_advance_and_again_after_it_was_emptied(file: PendingFile) -> None:
    file.prepare()
    assert file.is_empty()
    for _ in range(2):
        assert file.path.stat().st_size == SPACE_BYTES
        assert file.path.stat().st_blocks * 512 >= SPACE_BYTES
        assert file.path.stat().st_mode & 0o777 == 0o600
        one = record()
        file.append(one)
        assert file.path.stat().st_size == SPACE_BYTES
        assert file.read() == (one,)
        assert file.empty({one.id})
        assert file.read() == ()


def test_more_than_the_space_is_written_behind_it(file: PendingFile) -> None:
    file.prepare()
    records = [record() for _ in range(SPACE_BYTES // 250)]
    for item in records:
        file.append(item)
    assert file.path.stat().st_size > SPACE_BYTES
    assert file.read() == tuple(records)


def test_it_is_not_emptied_of_what_came_meanwhile(file: PendingFile) -> None:
    first, second = record(), record("ab13")
    file.append(first)
    file.append(second)
    assert not file.empty({first.id})
    assert file.read() == (first, second)
    assert file.empty({first.id, second.id})


@pytest.mark.parametrize("kept", [1, 63, 64, 65, 100, -1])
def test_a_torn_line_does_not_count_and_is_written_over(file: PendingFile, kept: int) -> None:
    first, torn, third = record(), record("ab13"), record("ab14")
    file.prepare()
    file.append(first)
    end = len(first.to_line())
    with file.path.open("r+b") as opened:
        opened.seek(end)
        # Longer than what comes after it, so that a rest of it would stay.
        opened.write(torn.to_line()[:kept] + b"x" * 2000)
    assert file.read() == (first,)
    file.append(third)
    assert file.read() == (first, third)
    assert b"x" * 10 not in file.path.read_bytes()


def test_a_line_that_was_changed_before_another_one_is_damage(file: PendingFile) -> None:
    file.append(record())
    file.append(record("ab13"))
    data = file.path.read_bytes()
    file.path.write_bytes(data.replace(b"ab12", b"ab15"))
    with pytest.raises(StateError, match="damaged"):
        file.read()


def test_a_line_of_a_newer_handfast_is_refused(file: PendingFile) -> None:

    text = record().to_line()[65:-1].replace(b'"version":1', b'"version":2')
    line = sha256(text).hexdigest().encode() + b" " + text + b"\n"
    file.path.write_bytes(line)
    with pytest.raises(StateError, match="another way"):
        file.read()


def test_a_link_in_its_place_is_not_followed(file: PendingFile, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"")
    file.path.symlink_to(target)
    with pytest.raises(StateError):
        file.append(record())
    assert target.read_bytes() == b""


def test_a_file_that_others_may_write_is_not_believed(file: PendingFile) -> None:
    file.append(record())
    file.path.chmod(0o666)
    with pytest.raises(StateError, match="everybody may write"):
        file.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to another user")
def test_a_file_of_another_user_is_not_believed(file: PendingFile) -> None:
    file.append(record())
    os.chown(file.path, 12345, 12345)
    with pytest.raises(StateError, match="belongs to user 12345"):
        file.read()


def test_one_that_adds_nothing_is_not_kept_twice(file: PendingFile) -> None:
    pending = PendingRevocations(file.path.parent)
    first, same, other = record(), record(), record("ab13")
    lesser = replace(record(), reason="superseded", whole_line=False)
    for item in (first, same, lesser, other):
        assert pending.add(item) is None
    assert file.read() == (first, other)


def test_one_that_means_more_is_kept_beside_the_first(file: PendingFile) -> None:
    pending = PendingRevocations(file.path.parent)
    first = replace(record(), reason="superseded", whole_line=False)
    graver, longer = record(), replace(record(), reason="superseded")
    wider = replace(first, id="1", serials=("ab12", "ab13"))
    renewed = replace(first, id="2", entries=(*first.entries, *record("ab14").entries))
    for item in (first, longer, wider, renewed, graver):
        assert pending.add(item) is None
    assert file.read() == (first, longer, wider, renewed, graver)


def test_what_is_in_memory_counts_although_the_file_can_not_be_read(file: PendingFile) -> None:
    pending = PendingRevocations(file.path.parent)
    file.path.symlink_to("elsewhere")
    assert pending.add(record()) is not None
    known = pending.known()
    assert [item.serials for item in known.records] == [("ab12",)]
    assert isinstance(known.error, StateError)
    assert pending.holds("ab12")
    # Whether another one is revoked, nobody can say.
    with pytest.raises(StateError):
        pending.holds("ab13")
    with pytest.raises(StateError):
        pending.refuse_all()


def test_a_damaged_line_hides_no_other(file: PendingFile) -> None:
    first, torn, last = record(), record("ab13"), record("ab14")
    for item in (first, torn, last):
        file.append(item)
    data = file.path.read_bytes()
    file.path.write_bytes(data.replace(b'"ab13"', b'"ab99"'))
    known = file.known()
    assert known.records == (first, last)
    assert known.error is not None
    # Nobody writes to it, or empties it, before somebody has looked.
    with pytest.raises(StateError, match="damaged"):
        file.append(record("ab15"))
    with pytest.raises(StateError, match="damaged"):
        file.empty({first.id, last.id})
