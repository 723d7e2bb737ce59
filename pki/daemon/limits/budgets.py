"""Budgets: how much work callers may cause. What fits none is refused, with a time to come back.

1. A token or recovery id whose MAC is right has a budget of its own. All others share one, from
   which those take nothing.
2. Requests without any proof share two: one for trust bundles, and one for revocation lists, of
   which a larger answer takes more places.
3. A certificate has a budget of its own for renewals, so that no flood of others touches them. Its
   line has another one for those that make a new certificate, so that nobody renews in a loop: it
   holds several times of what the lifetime of the certificates needs.
4. An admin's revocations have none: nothing may delay them. A certificate has one for revocations
   of its own line, which run in threads of their own, one at a time for each certificate.
5. What registrars and admins do is limited for each caller.

Several workers of one machine have parts of each budget, so that they allow no more together in the
long run; at once they allow more if there are many, since each has two places at least. A registrar
may do as much at each of them: its one connection leads to one.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, unique
from types import TracebackType
from typing import Self

from pki.access.token_bucket import TokenBucket
from pki.errors import PkiError

_MOST_CALLERS = 16_384
# One request and its repetition, at whichever worker.
_LEAST_BURST = 2
# A certificate is renewed between 40 and 60 % of its life.
_RENEWALS_A_LIFE, _LONGEST_LIFE = 10, timedelta(days=1)


class BudgetExhaustedError(PkiError):
    """Too many requests.

    Args:
        retry_after: seconds until there is a place again.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            "too many requests of this kind",
            remedy=f"Come back in {retry_after:.3f} seconds",
        )
        self.retry_after = retry_after


# Compared by identity: two budgets of an Enum with equal limits would be one.
@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """A limit: how many at once, and how many a second after that.

    Args:
        burst: how many at once.
        per_second: how many after that.
        is_each_workers: whether it is one of each worker, and not of all of them together.
    """

    burst: int
    per_second: float
    is_each_workers: bool = False

    def part(self, workers: int) -> Limit:
        """Return the part of each of so many workers. A caller that is refused once comes back."""
        if self.is_each_workers:
            return self
        burst = max(min(_LEAST_BURST, self.burst), math.ceil(self.burst / workers))
        return Limit(burst, self.per_second / workers)


@unique
class Budget(Enum):
    """The budgets. Those of one caller each are told apart by a key."""

    STRANGERS = Limit(100, 20)
    """All requests whose proof is not one of the CA's own."""
    BUNDLES = Limit(200, 50)
    """All requests for trust bundles, which need no proof."""
    LISTS = Limit(200, 50)
    """All requests for revocation lists: a place for each, and for each 64 KiB of the answers."""
    JWTS = Limit(50, 10)
    """All JWTs: verifying one costs a millisecond, and fetching keys a connection."""
    PROOF = Limit(10, 0.5)
    """Requests with one token or recovery id."""
    RENEWAL = Limit(10, 0.2)
    """Renewals of one certificate: it is renewed once, the rest are repetitions."""
    LINE = Limit(10, 0)
    """New certificates of one line by renewal; :class:`LinePlace` says how many a second."""
    REVOKING = Limit(10, 0.2)
    """Revocations of its own line that one certificate asks for."""
    FOLLOWING = Limit(60, 1)
    """Streams that one certificate begins: each may cost megabytes of lists."""
    OPERATIONS = Limit(500, 100, is_each_workers=True)
    """What one registrar or admin asks for."""


class Budgets:
    """The budgets of a CA. Safe for use by several threads.

    Args:
        clock: returns seconds that only grow.
        workers: among how many processes they are divided.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, workers: int = 1) -> None:
        self._clock = clock
        self._workers = workers
        self._limits = {budget: budget.value.part(workers) for budget in Budget}
        self._lock = threading.Lock()
        self._buckets: OrderedDict[tuple[Budget, bytes], TokenBucket] = OrderedDict()
        self._shared = {
            budget: TokenBucket(
                self._limits[budget].burst, self._limits[budget].per_second, clock()
            )
            for budget in (Budget.STRANGERS, Budget.BUNDLES, Budget.LISTS, Budget.JWTS)
        }
        self.refused: dict[Budget, int] = dict.fromkeys(Budget, 0)
        """How many requests each budget has refused."""

    def take(
        self,
        budget: Budget,
        key: bytes = b"",
        *,
        number: int = 1,
        per_second: float | None = None,
    ) -> None:
        """Take a place in a budget.

        Args:
            budget: which one.
            key: whose, for a budget of one caller each. Only keys that the CA made, or that a
                handshake has proved: callers must not choose how many there are.
            number: how many places.
            per_second: how many there are a second, where the key decides it.

        Raises:
            BudgetExhaustedError: if there is none.
        """
        with self._lock:
            now = self._clock()
            bucket = self._shared.get(budget) or self._own(budget, key, now, per_second)
            if not bucket.refill(now):
                self.refused[budget] += 1
                raise BudgetExhaustedError(bucket.seconds_until_next())
            for _ in range(number):
                bucket.take()

    def give_back(self, budget: Budget, key: bytes) -> None:
        """Give a place back that was taken for nothing."""
        with self._lock:
            bucket = self._buckets.get((budget, key))
            if bucket is not None:
                bucket.give_back()

    def _own(self, budget: Budget, key: bytes, now: float, per_second: float | None) -> TokenBucket:
        bucket = self._buckets.get((budget, key))
        if bucket is None:
            limit = self._limits[budget]
            rate = limit.per_second if per_second is None else per_second / self._workers
            bucket = TokenBucket(limit.burst, rate, now)
            self._buckets[budget, key] = bucket
            while len(self._buckets) > _MOST_CALLERS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end((budget, key))
        return bucket


class LinePlace:
    """A place in the budget of a line's renewals. It is given back if no certificate was issued.

    Args:
        budgets: of the CA.
    """

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._key: bytes | None = None

    def take(self, line_id: str, lifetime: timedelta) -> None:
        """Take it; once is enough.

        Args:
            line_id: of the line.
            lifetime: of the certificate that is to be issued.

        Raises:
            BudgetExhaustedError: if there is none.
        """
        if self._key is not None:
            return
        seconds = min(lifetime, _LONGEST_LIFE).total_seconds()
        # Another lifetime is another budget: an admin decides on it.
        key = f"{line_id} {seconds:g}".encode()
        self._budgets.take(Budget.LINE, key, per_second=_RENEWALS_A_LIFE / seconds)
        self._key = key

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it back after an error."""
        if error is not None and self._key is not None:
            self._budgets.give_back(Budget.LINE, self._key)
