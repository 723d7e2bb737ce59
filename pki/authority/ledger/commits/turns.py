"""Turns: one transaction at a time within this process, and steps that share one.

A ledger has one writer at a time, so all that change it in this process wait here, and not in the
database, which knows nothing of who is urgent. There are two kinds:

1. A block that has a transaction of its own (:meth:`Turns.turn`).
2. A step that may share one (:meth:`Turns.share`). Whoever gets the turn with a step takes the
   others that wait along, those too that come while it works, runs them all in one transaction, and
   commits once for all of them. The others are told when that commit is durable. So there is no
   thread and no timer: the next commit begins as soon as the one before has ended, with whatever
   has come meanwhile.

A commit takes up steps for a short time only: what is left of those that were taken along waits for
the next one, and so does nobody for long.

The most urgent goes first. So that nobody starves, the one that has waited longest goes first after
some turns in which it was passed over, and each urgency has some places in a shared commit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from pki.authority.ledger.commits.urgency import Urgency
from pki.errors import LedgerError

_Step = TypeVar("_Step")

MOST_SHARED = 64
"""How many steps share one commit: each waits for all of them."""
LEAST_SHARE = 4
"""How many places in a shared commit each urgency has, if so many wait."""
MOST_PASSED_OVER = 4
"""How many turns in a row may pass over the one that has waited longest."""


@dataclass(slots=True)
class Outcome:
    """How a step has ended.

    Args:
        result: what it returned.
        error: what it raised; None if its result is in the ledger.
    """

    result: object = None
    error: BaseException | None = None


@dataclass(slots=True, eq=False)
class _Waiter(Generic[_Step]):
    urgency: Urgency
    number: int
    step: _Step | None  # None for a block with a transaction of its own
    ready: threading.Event = field(default_factory=threading.Event)
    is_taken: bool = False
    """Whether it waits no more: it has the turn, or who has it has taken its step along."""
    outcome: Outcome | None = None
    """None for the one that has the turn."""


Commit = Callable[["Shared[_Step]"], Sequence[Outcome]]


class Shared(Generic[_Step]):
    """The steps that share a commit, in their order.

    Args:
        steps: those that wait when it begins: one at least.
        take_more: returns those that have come since.
        committed: called with the number of the steps that were committed; the others wait again.
    """

    def __init__(
        self,
        steps: Sequence[_Step],
        take_more: Callable[[], Sequence[_Step]],
        committed: Callable[[int], None],
    ) -> None:
        self.steps = list(steps)
        self._take_more = take_more
        self.committed = committed

    def take_more(self) -> bool:
        """Take the steps along that have come since; return whether there are any."""
        more = self._take_more()
        self.steps += more
        return bool(more)


class Turns(Generic[_Step]):
    """Whose turn it is. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Urgency, deque[_Waiter[_Step]]] = {item: deque() for item in Urgency}
        self._is_given = False
        self._number = self._passed_over = 0

    def are_waited_for(self) -> bool:
        """Return whether somebody waits for a turn, or has one."""
        with self._lock:
            return self._is_given

    @contextmanager
    def turn(self, urgency: Urgency, seconds: float) -> Iterator[Callable[[], None]]:
        """Wait for a turn, and have it for a block.

        Args:
            urgency: of the block.
            seconds: how long to wait at most.

        Yields:
            What ends the turn before the block does.

        Raises:
            LedgerError: if others had their turns all the time.
        """
        self._wait(urgency, None, seconds)
        with self._given() as end:
            yield end

    def share(
        self,
        step: _Step,
        commit: Commit[_Step],
        urgency: Urgency,
        seconds: float,
    ) -> object:
        """Have a step run in a transaction that it may share; return its result.

        Args:
            step: what is to be done.
            commit: runs steps in one transaction: the first at least, and as many of the others as
                it has time for. Once that is committed it says how many they are, and then returns
                how each of them has ended. It is called if this step gets the turn.
            urgency: of the step.
            seconds: how long to wait at most until the step is taken up.

        Raises:
            LedgerError: if others had their turns all the time.
            BaseException: what the step, or the commit, has raised.
        """
        waiter = self._wait(urgency, step, seconds)
        outcome = waiter.outcome or self._lead(waiter, commit)
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    def _lead(
        self,
        leader: _Waiter[_Step],
        commit: Commit[_Step],
    ) -> Outcome:
        with self._given() as end:
            batch, is_begun = [leader], False

            def take_more() -> Sequence[_Step]:
                taken = self._take_along(MOST_SHARED - len(batch), is_late=is_begun)
                batch.extend(taken)
                return [cast("_Step", item.step) for item in taken]

            def committed(number: int) -> None:
                self._put_back(batch[number:])
                del batch[number:]
                end()

            # Of no use to anybody but if this thread is ended within the commit.
            ended = Outcome(error=LedgerError("the thread that recorded it was ended"))
            outcomes: Sequence[Outcome] = ()
            try:
                steps = [cast("_Step", leader.step), *take_more()]
                is_begun = True
                outcomes = commit(Shared(steps, take_more, committed))
            except Exception as error:
                ended = Outcome(error=error)
            finally:
                outcomes = outcomes or [ended] * len(batch)
                for waiter, outcome in zip(batch, outcomes, strict=False):
                    waiter.outcome = outcome
                    waiter.ready.set()
            return outcomes[0]

    def _put_back(self, waiters: Sequence[_Waiter[_Step]]) -> None:
        """Let steps wait again, at the places that they had."""
        with self._lock:
            for waiter in reversed(waiters):
                waiter.is_taken = False
                self._waiting[waiter.urgency].appendleft(waiter)

    @contextmanager
    def _given(self) -> Iterator[Callable[[], None]]:
        """Have the turn, which was given, and pass it on once."""
        is_over = False

        def end() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                with self._lock:
                    self._pass_on()

        try:
            yield end
        finally:
            end()

    def _wait(self, urgency: Urgency, step: _Step | None, seconds: float) -> _Waiter[_Step]:
        """Wait until one has the turn, or the outcome of its step."""
        with self._lock:
            self._number += 1
            waiter = _Waiter(urgency, self._number, step)
            self._waiting[urgency].append(waiter)
            if not self._is_given:
                self._pass_on()
        try:
            if waiter.ready.wait(seconds):
                return waiter
        except BaseException:
            self._leave(waiter)
            raise
        with self._lock:
            if not waiter.is_taken:
                self._waiting[urgency].remove(waiter)
                raise LedgerError(
                    "ledger could not record: it was held all the time, by this process or another",
                    remedy="Nothing was handed out; see which one holds it (fuser), and try again",
                )
        # It is being done: only its end says whether it was recorded.
        waiter.ready.wait()
        return waiter

    def _leave(self, waiter: _Waiter[_Step]) -> None:
        """Let one go that does not wait any more, because its thread is ended."""
        with self._lock:
            if not waiter.is_taken:
                self._waiting[waiter.urgency].remove(waiter)
            elif waiter.ready.is_set() and waiter.outcome is None:
                self._pass_on()

    def _pass_on(self) -> None:
        """Give the turn to the next that waits, if any. The caller holds the lock."""
        heads = [queue[0] for queue in self._waiting.values() if queue]
        self._is_given = bool(heads)
        if not heads:
            return
        oldest, chosen = min(heads, key=lambda item: item.number), heads[0]
        if chosen is not oldest:
            self._passed_over += 1
        if chosen is oldest or self._passed_over > MOST_PASSED_OVER:
            chosen, self._passed_over = oldest, 0
        self._waiting[chosen.urgency].popleft()
        chosen.is_taken = True
        chosen.ready.set()

    def _take_along(self, places: int, *, is_late: bool) -> list[_Waiter[_Step]]:
        """Take steps that share a commit with the one that has the turn.

        Args:
            places: how many at most.
            is_late: whether the commit is under way: then none if somebody waits to have a turn
                alone.
        """
        with self._lock:
            waiting = (item for queue in self._waiting.values() for item in queue)
            if is_late and any(item.step is None for item in waiting):
                return []
            taken: list[_Waiter[_Step]] = []
            for most in (LEAST_SHARE, MOST_SHARED):
                for urgency, queue in self._waiting.items():
                    room = min(most, places - len(taken))
                    sharing = [item for item in queue if item.step is not None][:room]
                    for item in sharing:
                        item.is_taken = True
                    chosen = set(map(id, sharing))
                    self._waiting[urgency] = deque(i for i in queue if id(i) not in chosen)
                    taken += sharing
            return sorted(taken, key=lambda item: (item.urgency, item.number))
