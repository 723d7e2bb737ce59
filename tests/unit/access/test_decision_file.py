"""A decision log in a file of its own: what is written when, and what happens without room."""

from __future__ import annotations

import errno
import gc
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pki.access import decision_file
from pki.access.decision_file import MOST_LINES, DecisionFile
from pki.access.decision_log import (
    DecisionLogFile,
    LogWhen,
    WhenFull,
    describe_suppressed,
    open_sink,
)
from pki.errors import InputError, StateError
from tests.interop.shop import eventually

REST = ', "principal": "spiffe://shop.internal/a"}'
WHO = "spiffe://shop.internal/a"
AT = 1_700_000_000.25


class Log:
    """A file, and what was counted as lost."""

    def __init__(self, path: Path, *, blocks: bool = False) -> None:
        self.path = path
        self.lost: list[int] = []
        self.file = DecisionFile(
            path,
            blocks=blocks,
            describe_lost=lambda lost: describe_suppressed("policy.toml", lost),
            count_lost=self.lost.append,
        )

    def add(self, number: int = 1, *, is_warning: bool = False) -> None:
        for _ in range(number):
            self.file.add(AT, REST, WHO, is_warning=is_warning)

    @property
    def lines(self) -> list[dict[str, Any]]:
        # A reader may see a part of what is being written.
        whole = self.path.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]


def count_nothing(_: int) -> None:
    """Count nothing."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """A disk that takes nothing while the list holds anything."""
    is_full = [True]
    write = os.write

    def write_if_room(descriptor: int, data: bytes) -> int:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr("pki.access.appended_file.os.write", write_if_room)
    yield is_full
    is_full.clear()


def test_a_line_is_in_the_file_within_a_tenth_of_a_second(path: Path) -> None:
    log = Log(path)
    log.add()
    assert eventually(lambda: len(log.lines) == 1)
    assert log.lines == [{"timestamp": "2023-11-14T22:13:20.250+00:00", "principal": WHO}]
    assert path.stat().st_mode & 0o777 == 0o640
    # Both waits of the thread together, whatever this machine is busy with.
    assert decision_file._GATHER_SECONDS <= 0.05


def test_all_lines_are_there_when_it_is_closed_and_later_ones_are_written_at_once(
    path: Path,
) -> None:
    log = Log(path)
    log.add(5000)
    log.file.close()
    assert len(log.lines) == 5000
    # The server of a workload that was closed refuses every call, and says so.
    log.add(is_warning=True)
    assert len(log.lines) == 5001
    thread = log.file._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()


def test_lines_of_many_threads_are_whole_and_none_is_missing(path: Path) -> None:
    log = Log(path)
    threads = [threading.Thread(target=log.add, args=(500,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.file.close()
    assert len(log.lines) == 4000


def test_lines_that_find_no_room_are_left_out_and_counted(
    path: Path, full_disk: list[bool]
) -> None:
    log = Log(path)
    log.add(2 * MOST_LINES)
    assert eventually(lambda: log.file._is_failing)
    log.add(3 * MOST_LINES)
    full_disk.clear()
    assert eventually(lambda: path.exists() and "suppressed" in path.read_text())
    log.file.close()
    lines = log.lines
    [told] = [line for line in lines if "suppressed" in line]
    assert told["suppressed"] == sum(log.lost) == 5 * MOST_LINES - len(lines) + 1
    assert told["principals"] == {WHO: told["suppressed"]}
    assert told["policy_name"] == "policy.toml"


def test_an_allowed_call_waits_for_room_where_its_owner_says_so_and_a_refused_one_does_not(
    path: Path, full_disk: list[bool]
) -> None:
    log = Log(path, blocks=True)
    waiting = threading.Thread(target=log.add, args=(3 * MOST_LINES,))
    waiting.start()
    assert eventually(lambda: len(log.file._lines) == MOST_LINES and log.file._is_failing)
    log.add(10, is_warning=True)  # returns
    time.sleep(0.3)
    assert waiting.is_alive()
    assert path.read_bytes() == b""
    full_disk.clear()
    waiting.join(20)
    assert not waiting.is_alive()
    log.file.close()
    assert len(log.lines) == 3 * MOST_LINES + 10
    assert log.lost == []


def test_even_refusals_have_an_end_while_the_disk_is_full(
    path: Path, full_disk: list[bool]
) -> None:
    log = Log(path, blocks=True)
    log.add(5 * MOST_LINES, is_warning=True)
    assert sum(log.lost) >= MOST_LINES
    full_disk.clear()
    log.file.close()


def test_allowed_calls_take_no_room_from_the_lines_of_refusals(
    path: Path, full_disk: list[bool]
) -> None:
    log = Log(path)
    log.add(2 * MOST_LINES)
    assert eventually(lambda: log.file._is_failing)
    log.add(2 * MOST_LINES)
    before = sum(log.lost)
    log.add(100, is_warning=True)
    assert sum(log.lost) == before
    full_disk.clear()
    log.file.close()


def test_a_call_waits_for_some_seconds_and_the_next_ones_do_not(
    path: Path, full_disk: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_file, "LONGEST_WAIT", 0.5)
    log = Log(path, blocks=True)
    begun = time.monotonic()
    log.add(2 * MOST_LINES + 20_000)
    assert time.monotonic() - begun >= 0.5
    assert sum(log.lost) >= 1000
    # As soon as there was room, calls wait again.
    monkeypatch.setattr(decision_file, "LONGEST_WAIT", 60.0)
    full_disk.clear()
    assert eventually(lambda: not log.file._lines and not log.file._is_failing)
    full_disk.append(True)
    lost = sum(log.lost)
    waiting = threading.Thread(target=log.add, args=(MOST_LINES + 5000,))
    waiting.start()
    assert eventually(lambda: len(log.file._lines) == MOST_LINES)
    full_disk.clear()
    waiting.join(20)
    log.file.close()
    assert sum(log.lost) == lost


def test_a_lost_line_counts_for_all_the_decisions_that_it_tells_of(
    path: Path, full_disk: list[bool]
) -> None:
    log = Log(path)
    log.add(2 * MOST_LINES + decision_file._AT_ONCE, is_warning=True)
    assert eventually(lambda: log.file._is_failing)
    log.add(2 * MOST_LINES, is_warning=True)
    before = log.file._lost.total()
    log.file.add(AT, REST, WHO, is_warning=True, stands_for=980)
    assert log.file._lost.total() == before + 980
    full_disk.clear()
    log.file.close()
    assert sum(line.get("suppressed", 0) for line in log.lines) == before + 980


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_lost_at_the_end_is_counted_once(
    path: Path, full_disk: list[bool], times: int
) -> None:
    log = Log(path)
    log.add(3000)
    assert eventually(lambda: log.file._is_failing)
    for _ in range(times):
        log.file.close()
    assert sum(log.lost) == 3000


def test_a_slow_reader_of_a_pipe_gets_all_lines_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_file, "_CLOSING_SECONDS", 30.0)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = Log(path)
    os.set_blocking(reader, True)

    def read_slowly() -> None:
        while data := os.read(reader, 16384):
            read.append(data)
            time.sleep(0.005)

    log.add(9000)
    reading = threading.Thread(target=read_slowly)
    reading.start()
    log.file.close()
    assert log.lost == []
    assert log.file._thread is not None
    log.file._thread.join(10)
    log.file._file.close()
    reading.join(20)
    os.close(reader)
    assert b"".join(read).count(b"\n") == 9000


def test_a_loss_is_told_while_calls_go_on(path: Path, full_disk: list[bool]) -> None:
    log = Log(path)
    log.add(3 * MOST_LINES)
    assert log.lost
    ending = threading.Event()

    def go_on() -> None:
        while not ending.is_set():
            log.add(2000)
            time.sleep(0.001)

    going_on = threading.Thread(target=go_on)
    going_on.start()
    try:
        full_disk.clear()
        assert eventually(lambda: "suppressed" in path.read_text(), 20)
    finally:
        ending.set()
        going_on.join()
        log.file.close()


def test_closing_lets_go_who_waits_for_room(path: Path, full_disk: list[bool]) -> None:
    log = Log(path, blocks=True)
    waiting = threading.Thread(target=log.add, args=(3 * MOST_LINES,))
    waiting.start()
    assert eventually(lambda: log.file._is_failing and len(log.file._lines) == MOST_LINES)
    log.file.close()
    waiting.join(20)
    assert not waiting.is_alive()
    log.file.finish()
    # What could not be written is counted, and so is what found no room.
    assert sum(log.lost) == 3 * MOST_LINES


def test_the_file_is_closed_when_nobody_holds_the_log(path: Path) -> None:
    log = Log(path)
    log.add()
    log.file.close()
    number = log.file._file.descriptor
    assert log.file._thread is not None
    log.file._thread.join(10)
    del log
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_disk_that_is_full_is_told_once(
    path: Path, full_disk: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(path)
    log.add()

    def told(text: str) -> int:
        # The background thread may tell what an earlier test left to it.
        messages = [record.getMessage() for record in caplog.records]
        return sum(text in message and str(path) in message for message in messages)

    caplog.set_level("WARNING", logger="handfast.access")
    assert eventually(lambda: told("can't be written, lines wait: No space left") == 1)
    time.sleep(0.6)
    full_disk.clear()
    assert eventually(lambda: told("can be written again") == 1)
    assert told("can't be written") == 1
    assert len(log.lines) == 1
    log.file.close()


def test_a_write_that_takes_a_part_is_continued(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr("pki.access.appended_file.os.write", lambda to, data: write(to, data[:7]))
    log = Log(path)
    log.add(20)
    log.file.close()
    assert len(log.lines) == 20


@pytest.mark.parametrize("how", ["moved", "deleted"])
def test_a_file_that_is_moved_away_is_begun_again(path: Path, how: str) -> None:
    log = Log(path)
    log.add()
    log.file.flush()
    moved = path.with_suffix(".1")
    if how == "moved":
        path.rename(moved)
    else:
        path.unlink()
    log.add(2)
    log.file.close()
    assert len(log.lines) == 2
    assert how == "deleted" or len(moved.read_text().splitlines()) == 1


def test_a_pipe_can_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = Log(path)
    log.add(3)
    log.file.close()
    assert os.read(reader, 65536).count(b"\n") == 3
    os.close(reader)


def test_a_pipe_that_nobody_reads_is_an_error_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(StateError, match="can't be written"):
        Log(path)


def test_what_can_not_be_opened_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        Log(tmp_path)
    with pytest.raises(StateError, match="can't be written: No such file"):
        Log(tmp_path / "no" / "such.jsonl")


def test_the_setting_says_which_kind_it_is(path: Path) -> None:
    sink = open_sink(DecisionLogFile(path, when_full=WhenFull.BLOCK), "policy.toml", count_nothing)
    assert isinstance(sink, DecisionFile)
    sink.close()
    assert not isinstance(open_sink(LogWhen.BOTH, "policy.toml", count_nothing), DecisionFile)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_path_that_can_not_be_one_is_an_error_at_the_start(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        Log(tmp_path / name)


PROGRAM = """\
import os, signal, sys
from pathlib import Path
from pki.access.decision_file import DecisionFile
log = DecisionFile(Path(sys.argv[1]), blocks=False, describe_lost=str, count_lost=print)
for _ in range(100):
    log.add(1.0, ', "by": "parent"}', "", is_warning=False)
"""
FORKED = """\
log_of_child = os.fork() == 0
for _ in range(100):
    log.add(1.0, ', "by": "child"}' if log_of_child else ', "by": "parent"}', "", is_warning=False)
if not log_of_child:
    os.wait()
"""
ENDED = """\
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
os.kill(os.getpid(), signal.SIGTERM)
signal.pause()
"""


@pytest.mark.parametrize(
    ("end", "found"), [("", (100, 0)), (ENDED, (100, 0)), (FORKED, (200, 100))]
)
def test_all_lines_are_there_when_the_program_ends_and_a_child_writes_its_own(
    path: Path, end: str, found: tuple[int, int]
) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM + end, str(path)], check=True, timeout=60)
    text = path.read_text()
    assert (text.count("parent"), text.count("child")) == found


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("is_inherited", [False, True])
def test_a_worker_of_multiprocessing_leaves_no_line_unwritten(
    tmp_path: Path, method: str, is_inherited: bool
) -> None:
    log = Log(tmp_path / "decisions")
    if is_inherited and method != "fork":
        pytest.skip("nothing is inherited but by a fork")
    context: Any = multiprocessing.get_context(method)
    step, what = (log_some, log) if is_inherited else (begin_and_log, log.path)
    worker = context.Process(target=step, args=(what,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert len(log.lines) == 3


def begin_and_log(path: Path) -> None:
    log_some(Log(path))


def log_some(log: Log) -> None:
    log.add(3)
    # Held until the end, as a server holds it.
    sys.modules[__name__].held = log  # type: ignore[attr-defined]


def test_a_socket_in_place_of_the_standard_output_is_refused_with_the_way_out() -> None:
    ours, theirs = socket.socketpair()
    code = (
        "from pathlib import Path; from pki.access.decision_file import DecisionFile; "
        "DecisionFile(Path('/dev/stdout'), blocks=False, describe_lost=None, count_lost=None)"
    )
    with ours, theirs:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert b"log to the logger handfast.decisions" in done.stderr
