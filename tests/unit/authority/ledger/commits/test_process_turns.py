"""Processes that take turns to write to one ledger."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path

from pki.authority.ledger.commits.process_turns import offer_turns, process_turn

HOLDER = """
import sys, time
from pathlib import Path
from pki.authority.ledger.commits.process_turns import process_turn
folder, again = Path(sys.argv[1]), sys.argv[2] == "again"
with process_turn(folder, 60):
    print("mine", flush=True)
    if not again:
        time.sleep(600)
with (folder / "turns").open("ab", buffering=0) as turns:
    while True:
        with process_turn(folder, 60):
            turns.write(b".")
            time.sleep(0.002)
"""
LONG = 120.0
HOLD = 0.002
ROUNDS = 50


def holder(folder: Path, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), how], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    return process


def test_who_has_had_the_turn_does_not_take_it_before_who_waits(tmp_path: Path) -> None:
    offer_turns(tmp_path)
    turns = tmp_path / "turns"
    with holder(tmp_path, "again") as other:
        try:
            while not turns.exists():
                time.sleep(0.01)
            passed = 0
            for _ in range(ROUNDS):
                before = turns.stat().st_size
                with process_turn(tmp_path, LONG):
                    passed += turns.stat().st_size - before
                    time.sleep(HOLD)
        finally:
            other.kill()
    # One at most each time, but where this process itself was not run for a second.
    assert passed <= ROUNDS + 5
    assert turns.stat().st_size > ROUNDS / 2


def test_one_that_stands_still_with_the_turn_is_passed_over_and_one_that_ends_gives_it_up(
    tmp_path: Path,
) -> None:
    offer_turns(tmp_path)
    with holder(tmp_path, "once") as other:
        try:
            other.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            with process_turn(tmp_path, LONG):
                assert time.monotonic() - began >= 1.0
            began = time.monotonic()
            # Of what it may wait for the ledger, half is left.
            with process_turn(tmp_path, 0.2):
                assert time.monotonic() - began >= 0.1
        finally:
            other.kill()
        other.wait()
        with (tmp_path / ".ledger.turn.lock").open("rb+") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_without_workers_there_are_no_turns(tmp_path: Path) -> None:
    with process_turn(tmp_path, LONG), process_turn(tmp_path, LONG):
        pass
    assert list(tmp_path.iterdir()) == []
