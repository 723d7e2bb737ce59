"""Threads in which each caller has one operation at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pki.daemon.limits.budgets import BudgetExhaustedError
from pki.daemon.limits.one_each import OneEach


@pytest.fixture
def threads() -> Iterator[OneEach]:
    threads = OneEach(1, "test")
    yield threads
    threads.shutdown()


def test_a_second_operation_of_a_caller_is_refused_until_the_first_has_ended(
    threads: OneEach,
) -> None:
    go_on = threading.Event()
    first = threads.of("a").submit(go_on.wait, 10)
    with pytest.raises(BudgetExhaustedError):
        threads.of("a").submit(int)
    other = threads.of("b").submit(int)
    go_on.set()
    assert first.result(10)
    assert other.result(10) == 0
    assert threads.of("a").submit(int).result(10) == 0


def test_who_hangs_up_before_it_ran_has_its_place_back(threads: OneEach) -> None:
    go_on = threading.Event()
    first = threads.of("a").submit(go_on.wait, 10)
    waiting = threads.of("b").submit(int)
    assert waiting.cancel()
    go_on.set()
    assert first.result(10)
    assert threads.of("b").submit(int).result(10) == 0


def test_one_that_fails_gives_its_place_back(threads: OneEach) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        threads.of("a").submit(int, "no number").result(10)
    assert threads.of("a").submit(int).result(10) == 0
