"""Budgets: what one takes is not missing to another, and who finds none is told when to come."""

from contextlib import suppress
from datetime import timedelta

import pytest

from pki.daemon.limits.budgets import Budget, BudgetExhaustedError, Budgets, LinePlace


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(budgets: Budgets, budget: Budget, key: bytes = b"", most: int = 10_000) -> int:
    """Take until there is no place; return how many there were."""
    for number in range(most):
        try:
            budgets.take(budget, key)
        except BudgetExhaustedError:
            return number
    return most


def test_each_key_has_a_budget_of_its_own() -> None:
    budgets = Budgets(Seconds())
    assert taken(budgets, Budget.PROOF, b"a") == Budget.PROOF.value.burst
    assert taken(budgets, Budget.PROOF, b"b") == Budget.PROOF.value.burst
    assert taken(budgets, Budget.RENEWAL, b"a") == Budget.RENEWAL.value.burst


def test_budgets_with_equal_limits_are_two() -> None:
    budgets = Budgets(Seconds())
    for one, other in ((Budget.RENEWAL, Budget.REVOKING), (Budget.BUNDLES, Budget.LISTS)):
        assert taken(budgets, one, b"a") == one.value.burst
        assert taken(budgets, other, b"a") == other.value.burst


def test_strangers_take_nothing_from_ids_that_the_ca_made() -> None:
    budgets = Budgets(Seconds())
    assert taken(budgets, Budget.STRANGERS) == Budget.STRANGERS.value.burst
    budgets.take(Budget.PROOF, b"a")
    budgets.take(Budget.BUNDLES)
    budgets.take(Budget.JWTS)
    assert budgets.refused[Budget.STRANGERS] == 1


def test_a_shared_budget_is_one_whatever_the_key() -> None:
    budgets = Budgets(Seconds())
    assert taken(budgets, Budget.STRANGERS, b"a") == Budget.STRANGERS.value.burst
    assert taken(budgets, Budget.STRANGERS, b"b") == 0


def test_who_comes_back_when_told_finds_a_place() -> None:
    clock = Seconds()
    budgets = Budgets(clock)
    taken(budgets, Budget.PROOF, b"a")
    with pytest.raises(BudgetExhaustedError) as caught:
        budgets.take(Budget.PROOF, b"a")
    clock.now += caught.value.retry_after - 0.001
    with pytest.raises(BudgetExhaustedError):
        budgets.take(Budget.PROOF, b"a")
    clock.now += 0.01
    budgets.take(Budget.PROOF, b"a")


def test_a_batch_takes_as_many_places_as_it_has_items() -> None:
    budgets = Budgets(Seconds())
    budgets.take(Budget.OPERATIONS, b"ci", number=Budget.OPERATIONS.value.burst)
    with pytest.raises(BudgetExhaustedError):
        budgets.take(Budget.OPERATIONS, b"ci")


def test_the_number_of_budgets_is_bounded() -> None:
    budgets = Budgets(Seconds())
    for number in range(40_000):
        budgets.take(Budget.RENEWAL, str(number).encode())
    assert len(budgets._buckets) <= 16_384


def test_a_line_renews_several_times_as_often_as_its_lifetime_needs_and_no_more() -> None:
    clock = Seconds()
    budgets = Budgets(clock)

    def renewed(lifetime: timedelta, every: float, seconds: int) -> int:
        """Return how often it found no place."""
        before = budgets.refused[Budget.LINE]
        end = clock.now + seconds
        while clock.now < end:
            with suppress(BudgetExhaustedError):
                LinePlace(budgets).take("line", lifetime)
            clock.now += every
        return budgets.refused[Budget.LINE] - before

    assert renewed(timedelta(seconds=5), 2.0, 3600) == 0
    assert renewed(timedelta(seconds=1), 0.4, 600) == 0
    assert renewed(timedelta(hours=1), 1440, 10 * 86400) == 0
    assert renewed(timedelta(days=30), 12 * 86400, 360 * 86400) == 0
    # In a loop: ten at once, and then ten in the lifetime of one.
    assert renewed(timedelta(hours=1), 1.0, 3600) >= 3600 - 21


def test_a_place_of_a_line_is_given_back_if_nothing_was_issued() -> None:
    budgets = Budgets(Seconds())
    for _ in range(100):
        with suppress(ValueError), LinePlace(budgets) as place:
            place.take("line", timedelta(hours=1))
            place.take("line", timedelta(hours=1))
            raise ValueError
    for _ in range(10):
        with LinePlace(budgets) as place:
            place.take("line", timedelta(hours=1))
            place.take("line", timedelta(hours=1))
    with pytest.raises(BudgetExhaustedError) as caught:
        LinePlace(budgets).take("line", timedelta(hours=1))
    assert 0 < caught.value.retry_after <= 360
    LinePlace(budgets).take("another line", timedelta(hours=1))


def test_workers_allow_together_what_one_allows() -> None:
    clock = Seconds()
    workers = [Budgets(clock, workers=4) for _ in range(4)]
    for budget in (Budget.STRANGERS, Budget.BUNDLES, Budget.FOLLOWING):
        assert sum(taken(item, budget, b"a") for item in workers) == budget.value.burst
    clock.now += 4 / Budget.STRANGERS.value.per_second
    assert sum(taken(item, Budget.STRANGERS) for item in workers) == 4
    # One registrar is at one of them: its connection leads there.
    assert taken(workers[0], Budget.OPERATIONS, b"ci") == Budget.OPERATIONS.value.burst


def test_each_of_many_workers_has_a_place_for_a_request_and_its_repetition() -> None:
    budgets = Budgets(Seconds(), workers=64)
    for budget in (Budget.PROOF, Budget.RENEWAL, Budget.REVOKING, Budget.STRANGERS):
        assert taken(budgets, budget, b"a") == 2


def test_a_line_renews_as_often_at_all_workers_as_at_one() -> None:
    clock, lifetime = Seconds(), timedelta(hours=1)
    workers = [Budgets(clock, workers=2) for _ in range(2)]

    def renewals() -> int:
        total = 0
        for budgets in workers:
            for _ in range(100):
                try:
                    LinePlace(budgets).take("line", lifetime)
                except BudgetExhaustedError:
                    break
                total += 1
        return total

    assert renewals() == Budget.LINE.value.burst
    clock.now += lifetime.total_seconds()
    assert renewals() == Budget.LINE.value.burst
