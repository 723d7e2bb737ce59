"""The time of a policy's decision: ten thousand grants and names against ten of each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from pki.authz import Policy, Principal, read_policy
from pki.identity import SpiffeId, TrustDomain, derive_names
from tests.bench.environment import Environment
from tests.bench.rows import Pairs, Row

_SHOP = TrustDomain("shop.internal")
_MANY, _FEW = 10_000, 10
_ASKED = 10
_MOST_TIMES = 1.5
_MILLION = 1e6


def decisions(_: Environment, quick: bool) -> Iterator[Row]:
    """Measure it, from the principal's names on, without any cache of earlier decisions."""
    rounds, pairs = (50, 7) if quick else (200, 31)
    many, few = _policy_and_calls(_MANY), _policy_and_calls(_FEW)
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(pairs):
        for is_many in (number % 2 == 0, number % 2 == 1):
            times[is_many].append(_seconds(*(many if is_many else few), rounds) * _MILLION)
    measured = Pairs(times[True], times[False])
    yield measured.row(
        f"policy decision, us, {_MANY:,} grants and names against {_FEW}",
        _MOST_TIMES,
        median(measured.ratios) <= _MOST_TIMES,
    )


def _policy_and_calls(count: int) -> tuple[Policy, list[tuple[Principal, str]]]:
    """Return a policy, and calls that are spread over its grants."""
    names = "".join(f'role{at} = ["spiffe://shop.internal/workload{at}"]\n' for at in range(count))
    grants = "".join(
        f'[[grant]]\nrole = "role{at}"\nmethods = ["/shop.v1.Service{at}/Method"]\n'
        for at in range(count)
    )
    text = f'trust_domain = "shop.internal"\n[roles]\n{names}{grants}'
    policy = read_policy(text.encode(), source="policy.toml")
    calls = []
    for number in range(_ASKED):
        at = number * count // _ASKED
        spiffe_id = SpiffeId.of_path(_SHOP, f"workload{at}")
        derived = derive_names(spiffe_id)
        dns = frozenset({derived.dns} if derived.dns else ())
        # Every other one is refused.
        method = f"/shop.v1.Service{at}/{'Method' if number % 2 else 'Other'}"
        calls.append((Principal(spiffe_id, dns, derived.subject), method))
    return policy, calls


def _seconds(policy: Policy, calls: list[tuple[Principal, str]], rounds: int) -> float:
    begin = time.perf_counter()
    for _ in range(rounds):
        for principal, method in calls:
            policy.decide(principal, method)
    return (time.perf_counter() - begin) / rounds / len(calls)
