"""Whose turn it is to change the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pki.authority.ledger.commits.turns import (
    LEAST_SHARE,
    MOST_PASSED_OVER,
    MOST_SHARED,
    Outcome,
    Shared,
    Turns,
)
from pki.authority.ledger.commits.urgency import Urgency
from pki.errors import LedgerError

SECONDS = 30.0


class Recorder:
    """Commits steps, which are names here, and keeps what was committed together."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []

    def commit(self, shared: Shared[str]) -> Sequence[Outcome]:
        return self.record(shared, shared.steps)

    def record(self, shared: Shared[str], steps: Sequence[str]) -> Sequence[Outcome]:
        self.commits.append(list(steps))
        shared.committed(len(steps))
        return [Outcome(f"{step} done") for step in steps]


def waiting(turns: Turns[str]) -> int:
    return sum(len(queue) for queue in turns._waiting.values())


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Crowd:
    """Starts threads that wait for a turn, one after the other."""

    def __init__(self, turns: Turns[str], recorder: Recorder) -> None:
        self.turns, self.recorder = turns, recorder
        self.threads: list[threading.Thread] = []
        self.order: list[str] = []

    def share(self, name: str, urgency: Urgency) -> None:
        self._start(lambda: self.turns.share(name, self.recorder.commit, urgency, SECONDS))

    def block(self, name: str, urgency: Urgency) -> None:
        def work() -> None:
            with self.turns.turn(urgency, SECONDS):
                self.order.append(name)

        self._start(work)

    def _start(self, work: Callable[[], object]) -> None:
        before = waiting(self.turns)
        thread = threading.Thread(target=work)
        thread.start()
        self.threads.append(thread)
        until(lambda: waiting(self.turns) == before + 1)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(SECONDS)
            assert not thread.is_alive()


def test_one_that_is_alone_commits_alone() -> None:
    turns, recorder = Turns[str](), Recorder()
    assert turns.share("a", recorder.commit, Urgency.STRANGER, SECONDS) == "a done"
    assert recorder.commits == [["a"]]


def test_those_that_wait_share_the_next_commit_the_most_urgent_first() -> None:
    turns, recorder = Turns[str](), Recorder()
    crowd = Crowd(turns, recorder)
    with turns.turn(Urgency.STRANGER, SECONDS):
        crowd.share("enroll", Urgency.STRANGER)
        crowd.share("batch", Urgency.REGISTRAR)
        crowd.share("renew", Urgency.RENEWAL)
        crowd.share("renew again", Urgency.RENEWAL)
    crowd.join()
    assert [sorted(commit) for commit in recorder.commits] == [
        ["batch", "enroll", "renew", "renew again"]
    ]
    assert recorder.commits[0][0] == "renew"
    assert recorder.commits[0][-1] == "enroll"


def test_each_urgency_has_its_least_share_of_a_full_commit() -> None:
    turns, recorder = Turns[str](), Recorder()
    crowd = Crowd(turns, recorder)
    with turns.turn(Urgency.REVOCATION, SECONDS):
        for number in range(2 * MOST_SHARED):
            crowd.share(f"renew {number}", Urgency.RENEWAL)
        for number in range(LEAST_SHARE):
            crowd.share(f"enroll {number}", Urgency.STRANGER)
    crowd.join()
    first = recorder.commits[0]
    assert len(first) == MOST_SHARED
    assert len([name for name in first if name.startswith("enroll")]) == LEAST_SHARE
    assert sum(map(len, recorder.commits)) == 2 * MOST_SHARED + LEAST_SHARE


def test_what_a_commit_has_no_time_for_is_in_the_next_one() -> None:
    turns, recorder = Turns[str](), Recorder()
    crowd = Crowd(turns, recorder)

    def commit_two(shared: Shared[str]) -> Sequence[Outcome]:
        return recorder.record(shared, shared.steps[:2])

    recorder.commit = commit_two  # type: ignore[method-assign]
    with turns.turn(Urgency.REVOCATION, SECONDS):
        for number in range(5):
            crowd.share(f"renew {number}", Urgency.RENEWAL)
        crowd.block("revoke", Urgency.REVOCATION)
    crowd.join()
    assert crowd.order == ["revoke"]
    assert recorder.commits == [
        ["renew 0", "renew 1"],
        ["renew 2", "renew 3"],
        ["renew 4"],
    ]
    assert waiting(turns) == 0


def test_a_block_has_a_turn_of_its_own_before_what_is_less_urgent() -> None:
    turns, recorder = Turns[str](), Recorder()
    crowd = Crowd(turns, recorder)
    with turns.turn(Urgency.STRANGER, SECONDS):
        crowd.block("list", Urgency.REGISTRAR)
        crowd.block("revoke", Urgency.REVOCATION)
        crowd.block("revoke again", Urgency.REVOCATION)
    crowd.join()
    assert crowd.order == ["revoke", "revoke again", "list"]


def test_the_one_that_has_waited_longest_is_not_passed_over_for_ever() -> None:
    turns, recorder = Turns[str](), Recorder()
    crowd = Crowd(turns, recorder)
    with turns.turn(Urgency.REVOCATION, SECONDS):
        crowd.block("stranger", Urgency.STRANGER)
        for number in range(3 * MOST_PASSED_OVER):
            crowd.block(f"revoke {number}", Urgency.REVOCATION)
    crowd.join()
    assert crowd.order.index("stranger") == MOST_PASSED_OVER


def test_who_waits_too_long_is_refused_and_leaves_the_queue() -> None:
    turns, recorder = Turns[str](), Recorder()
    with turns.turn(Urgency.REVOCATION, SECONDS):
        with pytest.raises(LedgerError, match="held all the time"):
            turns.share("a", recorder.commit, Urgency.RENEWAL, 0.01)
        with pytest.raises(LedgerError), turns.turn(Urgency.REVOCATION, 0.01):
            raise AssertionError("it has no turn")
        assert waiting(turns) == 0
    assert turns.share("b", recorder.commit, Urgency.RENEWAL, SECONDS) == "b done"
    assert recorder.commits == [["b"]]


def test_what_is_taken_up_is_waited_for_however_long_it_takes() -> None:
    turns, recorder = Turns[str](), Recorder()
    taken, go = threading.Event(), threading.Event()

    def slow(shared: Shared[str]) -> Sequence[Outcome]:
        taken.set()
        go.wait(SECONDS)
        return recorder.commit(shared)

    with ThreadPoolExecutor(2) as threads:
        with turns.turn(Urgency.REVOCATION, SECONDS):
            first = threads.submit(turns.share, "a", slow, Urgency.RENEWAL, SECONDS)
            until(lambda: waiting(turns) == 1)
            second = threads.submit(turns.share, "b", recorder.commit, Urgency.RENEWAL, 0.3)
            until(lambda: waiting(turns) == 2)
        assert taken.wait(SECONDS)
        time.sleep(0.5)
        assert not second.done()
        go.set()
        assert second.result(SECONDS) == "b done"
        assert first.result(SECONDS) == "a done"


def test_a_commit_that_fails_fails_for_all_and_the_next_one_goes_on() -> None:
    turns, recorder = Turns[str](), Recorder()

    def failing(shared: Shared[str]) -> Sequence[Outcome]:
        raise LedgerError("disk full")

    with ThreadPoolExecutor(2) as threads:
        with turns.turn(Urgency.REVOCATION, SECONDS):
            futures = [
                threads.submit(turns.share, name, failing, Urgency.RENEWAL, SECONDS)
                for name in "ab"
            ]
            until(lambda: waiting(turns) == 2)
        for future in futures:
            with pytest.raises(LedgerError, match="disk full"):
                future.result(SECONDS)
    assert turns.share("c", recorder.commit, Urgency.RENEWAL, SECONDS) == "c done"


def test_a_commit_takes_those_along_who_come_while_it_works() -> None:
    turns, recorder = Turns[str](), Recorder()
    crowd = Crowd(turns, recorder)

    def working(shared: Shared[str]) -> Sequence[Outcome]:
        crowd.share("second", Urgency.STRANGER)
        assert shared.take_more()
        crowd.share("third", Urgency.RENEWAL)
        assert shared.take_more()
        assert not shared.take_more()
        return recorder.commit(shared)

    assert turns.share("first", working, Urgency.RENEWAL, SECONDS) == "first done"
    crowd.join()
    assert recorder.commits == [["first", "second", "third"]]


def test_a_commit_takes_nobody_along_while_a_block_waits_for_its_turn() -> None:
    turns, recorder = Turns[str](), Recorder()
    crowd = Crowd(turns, recorder)

    def working(shared: Shared[str]) -> Sequence[Outcome]:
        crowd.share("second", Urgency.RENEWAL)
        crowd.block("revoke", Urgency.REVOCATION)
        assert not shared.take_more()
        return recorder.commit(shared)

    assert turns.share("first", working, Urgency.RENEWAL, SECONDS) == "first done"
    crowd.join()
    assert crowd.order == ["revoke"]
    assert recorder.commits == [["first"], ["second"]]


def test_those_who_came_late_fail_with_their_commit() -> None:
    turns, recorder = Turns[str](), Recorder()

    with ThreadPoolExecutor(1) as threads:
        late: list[Future[object]] = []

        def failing(shared: Shared[str]) -> Sequence[Outcome]:
            late.append(
                threads.submit(turns.share, "late", recorder.commit, Urgency.RENEWAL, SECONDS)
            )
            until(lambda: waiting(turns) == 1)
            assert shared.take_more()
            raise LedgerError("disk full")

        with pytest.raises(LedgerError, match="disk full"):
            turns.share("first", failing, Urgency.RENEWAL, SECONDS)
        with pytest.raises(LedgerError, match="disk full"):
            late[0].result(SECONDS)
    assert turns.share("c", recorder.commit, Urgency.RENEWAL, SECONDS) == "c done"


def test_a_block_that_raises_passes_its_turn_on() -> None:
    turns, recorder = Turns[str](), Recorder()
    with pytest.raises(ValueError, match="x"), turns.turn(Urgency.RENEWAL, SECONDS):
        raise ValueError("x")
    assert turns.share("a", recorder.commit, Urgency.RENEWAL, SECONDS) == "a done"


def test_a_turn_that_was_ended_early_is_passed_on_once() -> None:
    turns = Turns[str]()
    with turns.turn(Urgency.RENEWAL, SECONDS) as end:
        end()
        with turns.turn(Urgency.RENEWAL, SECONDS):
            end()
            with pytest.raises(LedgerError), turns.turn(Urgency.RENEWAL, 0.01):
                pass
